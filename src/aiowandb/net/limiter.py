"""Who may send a request now: the line in which everybody of a session stands."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

import anyio

from aiowandb.net.adaptive import Concurrency, Pace, Quota
from aiowandb.net.traffic import Traffic, count


class Place:
    """What one request holds from its first try to its last."""

    def __init__(self, *, queued: bool) -> None:
        self.queued = queued
        self.started = 0.0


class Limiter:
    """Bounds how many requests are under way at once, and how many start in a second.

    Both follow what the server can do, and neither exceeds what the user allows.
    """

    def __init__(self, concurrency: Concurrency, pace: Pace, traffic: Traffic) -> None:
        self._concurrency = concurrency
        self._pace = pace
        self._traffic = traffic
        self._places = anyio.CapacityLimiter(concurrency.places)
        self._gate = anyio.Lock()
        self._room = math.inf

    @asynccontextmanager
    async def place(self) -> AsyncIterator[Place]:
        """Stand in line for a place, and hold it while the block runs."""
        place = Place(queued=self._is_full())
        await self._places.acquire_on_behalf_of(place)
        try:
            yield place
        finally:
            self._places.release_on_behalf_of(place)

    async def turn(self, place: Place, longest: float = math.inf) -> bool:
        """Wait until whoever holds this place may send; not through a pause that is too long."""
        async with self._gate:
            while (wait := self._pace.wait(anyio.current_time())) > 0:
                if self.pause_left() > longest:
                    return False
                place.queued = True
                await anyio.sleep(wait)
            place.started = anyio.current_time()
            self._pace.start(place.started, queued=place.queued)
            return True

    def pause_left(self) -> float:
        """For how many seconds W&B has asked to be left alone."""
        return self._pace.resume_at - anyio.current_time()

    def answered(self, place: Place, kind: Hashable, quota: Quota | None = None) -> None:
        """An answer has begun to come. Questions of one `kind` take about the same time."""
        now = anyio.current_time()
        self._concurrency.answered(now, place.started, kind, full=self._is_full())
        if quota and quota.pause:
            self._pace.used_up(now, place.started, quota.pause)
            self._show_pause()
        self._room = quota.remaining + 1 if quota and not quota.pause else math.inf
        self._resize()

    def refused(self, place: Place, pause: float) -> None:
        """The answer was 429: nobody sends anything for `pause` seconds."""
        now = anyio.current_time()
        count(self._traffic, refused=1)
        self._pace.refused(now, place.started, pause)
        # The pace does most of it; fewer at once leave fewer to be refused the next time.
        self._concurrency.overloaded(now, place.started, keep=0.8)
        self._resize()
        self._show_pause()

    def overloaded(self, place: Place, pause: float) -> None:
        """The server was too busy to answer, or did not answer in time."""
        now = anyio.current_time()
        self._pace.pause(now, pause)
        self._concurrency.overloaded(now, place.started)
        self._resize()

    def _is_full(self) -> bool:
        return self._places.borrowed_tokens >= self._places.total_tokens

    def _resize(self) -> None:
        # Each of those under way takes a part of what is left of the quota.
        self._places.total_tokens = min(self._concurrency.places, self._room)

    def _show_pause(self) -> None:
        self._traffic.throttled_until = time.time() + self.pause_left()
        self._traffic.rate_limit = self._pace.learnt if self._pace.learnt < math.inf else None
