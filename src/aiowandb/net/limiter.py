"""Limits how many requests run at once, and how many start in a second."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

import anyio

from aiowandb.net.adaptive import Concurrency, Pace, Quota
from aiowandb.net.traffic import Traffic, count


class Slot:
    """One of the requests that may be in progress; in use from its first attempt to its last."""

    def __init__(self, *, queued: bool) -> None:
        self.queued = queued
        self.started = 0.0


class Limiter:
    """Both limits adapt to what the server can do, and never exceed those that the user set."""

    def __init__(self, concurrency: Concurrency, pace: Pace, traffic: Traffic) -> None:
        self._concurrency = concurrency
        self._pace = pace
        self._traffic = traffic
        self._slots = anyio.CapacityLimiter(concurrency.limit)
        self._gate = anyio.Lock()
        self._room = math.inf
        self._quota_rate = math.inf

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[Slot]:
        """Wait for a slot, and use it while the block runs."""
        slot = Slot(queued=self._is_full())
        await self._slots.acquire_on_behalf_of(slot)
        try:
            yield slot
        finally:
            self._slots.release_on_behalf_of(slot)

    async def wait_for_turn(self, slot: Slot, longest: float = math.inf) -> bool:
        """Wait until the request of this slot may be sent.

        False if it would have to wait for a pause that lasts more than `longest` seconds.
        """
        async with self._gate:
            while (wait := self._pace.wait(anyio.current_time())) > 0:
                if self.pause_left() > longest:
                    return False
                slot.queued = True
                await anyio.sleep(wait)
            slot.started = anyio.current_time()
            self._pace.start(slot.started, queued=slot.queued)
            return True

    def granted_rate(self) -> float:
        """How many requests a second may start, by what W&B said last; infinite if unknown."""
        rate = self._pace.rate(anyio.current_time())
        # What is left just before it is renewed says less than a rate that was measured.
        return rate if self._pace.learnt < math.inf else min(rate, self._quota_rate)

    def pause_left(self) -> float:
        """How many seconds are left of the pause that W&B asked for."""
        return self._pace.resume_at - anyio.current_time()

    def answered(self, slot: Slot, kind: Hashable, quota: Quota | None = None) -> None:
        """A response has begun to arrive. Requests of one `kind` take about the same time."""
        now = anyio.current_time()
        self._concurrency.answered(now, slot.started, kind, full=self._is_full())
        if quota and quota.pause:
            self._pace.used_up(now, slot.started, quota.pause)
            self._show_pause()
        if quota and quota.remaining and quota.reset > 0:
            self._quota_rate = quota.remaining / quota.reset
        self._room = quota.remaining + 1 if quota and not quota.pause else math.inf
        self._resize()

    def refused(self, slot: Slot, pause: float) -> None:
        """The response was 429: no request is sent for `pause` seconds."""
        now = anyio.current_time()
        count(self._traffic, refused=1)
        self._pace.refused(now, slot.started, pause)
        # The pace does most of it; with fewer at once, fewer are refused the next time.
        self._concurrency.overloaded(now, slot.started, keep=0.8)
        self._resize()
        self._show_pause()

    def overloaded(self, slot: Slot, pause: float) -> None:
        """The server was too busy to answer, or did not answer in time."""
        now = anyio.current_time()
        self._pace.pause(now, pause)
        self._concurrency.overloaded(now, slot.started)
        self._resize()

    def _is_full(self) -> bool:
        return self._slots.borrowed_tokens >= self._slots.total_tokens

    def _resize(self) -> None:
        # Each request in progress uses up a part of the remaining quota.
        self._slots.total_tokens = min(self._concurrency.limit, self._room)

    def _show_pause(self) -> None:
        self._traffic.throttled_until = time.time() + self.pause_left()
        self._traffic.rate_limit = self._pace.learnt if self._pace.learnt < math.inf else None
