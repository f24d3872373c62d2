"""One budget of memory for all requests that are under way.

Every request works within a share that is small, and most need no more. One that turns out to need
more is ended before it uses it, waits until there is room, and starts over with a larger share: so
no request ever waits for memory while it has some, which could go on for ever, and small requests
never wait for large ones. Several users take turns.
"""

from __future__ import annotations

import ctypes
import math
import sys
import threading
from collections import Counter
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import pyarrow as pa

from aiowandb_server.errors import MoreMemoryError
from aiowandb_server.responses import blocking, error
from aiowandb_server.store.metering import measured

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from starlette.responses import Response

DEFAULT_MAX_MEMORY = 1 << 30
# So many requests work at the same time. More would not be faster: they share an interpreter.
_WORKERS = 8
# One user leaves the others some of them.
_WORKERS_A_USER = 6
_WAIT_S = 60.0
_MAX_WAITING = 4_096
# Another thread may have made room, which does not wake a task of this one.
_LOOK_AGAIN_S = 1.0


class BusyError(Exception):
    """There was no room for a request for a long time."""


@dataclass(slots=True, eq=False)
class _Waiter:
    user: int
    units: int
    granted: bool = False
    event: anyio.Event = field(default_factory=anyio.Event)
    thread: int = field(default_factory=threading.get_ident)


class Lane:
    """Units that requests take and give back, of which one user has `per_user` at most."""

    def __init__(self, units: int, per_user: int) -> None:
        self._free = units
        self._per_user = per_user
        self._taken: Counter[int] = Counter()
        self._waiters: list[_Waiter] = []
        self._lock = threading.Lock()

    @asynccontextmanager
    async def taken(self, user: int, units: int) -> AsyncIterator[None]:
        """Take units for the block, in turn with other users. Raises BusyError."""
        waiter = _Waiter(user, units)
        with self._lock:
            own = sum(waiting.user == user for waiting in self._waiters)
            # Half of the places that others have left: there are always some for one more user.
            if own >= _MAX_WAITING - len(self._waiters):
                raise BusyError
            self._waiters.append(waiter)
            self._grant()
        try:
            with anyio.move_on_after(_WAIT_S):
                while not waiter.granted:
                    with anyio.move_on_after(_LOOK_AGAIN_S):
                        await waiter.event.wait()
            if not self._is_granted(waiter):
                raise BusyError
            yield
        finally:
            with self._lock:
                if waiter.granted:
                    self._free += units
                    self._taken[user] -= units
                else:
                    self._waiters.remove(waiter)
                self._grant()

    def _is_granted(self, waiter: _Waiter) -> bool:
        with self._lock:
            return waiter.granted

    def _grant(self) -> None:
        """Give to those who wait: first to whom has least, then to whom waits longest."""
        while self._waiters:
            ready = [
                waiter
                for waiter in self._waiters
                if self._taken[waiter.user] + waiter.units <= self._per_user
            ]
            chosen = min(ready, key=lambda waiter: self._taken[waiter.user], default=None)
            # What is small does not pass by what is large, which might never have its turn.
            if chosen is None or chosen.units > self._free:
                return
            self._waiters.remove(chosen)
            self._free -= chosen.units
            self._taken[chosen.user] += chosen.units
            chosen.granted = True
            if chosen.thread == threading.get_ident():
                chosen.event.set()


class Budget:
    """Runs the work of requests within `total` bytes, all together."""

    def __init__(self, total: int = DEFAULT_MAX_MEMORY) -> None:
        self.waiting = total // 16
        self.share = total * 3 // 16 // _WORKERS
        large = total * 3 // 4
        self._levels = (self.share, large // 4, large)
        self._workers = Lane(_WORKERS, _WORKERS_A_USER)
        self._large = Lane(large, large)

    async def run(self, user: int, need: int, work: Callable[[], Response]) -> Response:
        """The response of the work, which runs in a thread.

        `need` is what it takes from the start, such as its body, and counts as used.
        """
        begin_with = need
        try:
            for level in self._levels:
                if need > level:
                    continue
                lane, units = (self._workers, 1) if level == self.share else (self._large, level)
                async with lane.taken(user, units):
                    found = await self._within(level, begin_with, work)
                if not isinstance(found, int):
                    return found
                need = found
        except BusyError:
            return busy()
        return error(
            413,
            f"this takes more than the {self._levels[-1] >> 20} MB of memory that a request may "
            "have here. Ask for less at once, or send less.",
        )

    async def _within(
        self, limit: int, begin_with: int, work: Callable[[], Response]
    ) -> Response | int:
        """The response, or how much memory it needs if that is more."""

        def limited() -> Response | int:
            with measured(limit, self._levels[-1]) as meter:
                try:
                    meter.charge(begin_with)
                    return work()
                except MoreMemoryError as more:
                    # What has been changed would be changed twice.
                    return int(1e18) if meter.has_written else more.needed

        try:
            return await blocking(limited, anyio.CapacityLimiter(math.inf))
        finally:
            if limit > self.share:
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(_give_back_memory)


def _give_back_memory() -> None:
    """Give the memory that was freed back to the system, as far as it is not in between what is
    used: Arrow and glibc keep it, so that the memory of a server would never become less."""
    pa.default_memory_pool().release_unused()
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


def busy() -> Response:
    """The response while there is no room: a later attempt may succeed."""
    response = error(503, "the server is busy with other requests")
    response.headers["Retry-After"] = "2"
    return response
