"""Blocking calls in worker threads, and threads that the event loop feeds."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    suppress,
)
from importlib import import_module
from threading import Condition
from typing import Generic, TypeVar, TypeVarTuple

import anyio
import anyio.from_thread
import anyio.to_thread

from aiowandb.concurrency.tasks import task_group

T = TypeVar("T")
R = TypeVar("R")
Args = TypeVarTuple("Args")

_imported: set[str] = set()
# How many bytes the items of an inbox may have together, unless there is only one.
_INBOX_BYTES = 64 << 20


async def run_sync(function: Callable[[*Args], T], *args: *Args) -> T:
    """Call the function in a worker thread, and wait for it in any case.

    anyio's own `run_sync` does not wait if asyncio cancels the task, as `asyncio.wait_for`
    does: then a file would be closed while the thread still writes to it.
    """
    results: list[T] = []

    async def run() -> None:
        results.append(await anyio.to_thread.run_sync(function, *args))

    async with task_group() as tasks:
        tasks.start_soon(run)
    return results[0]


def until_cancelled(items: Iterable[R]) -> Iterator[R]:
    """In a worker thread: the items, until the task that waits for it is cancelled."""
    for item in items:
        anyio.from_thread.check_cancelled()
        yield item


async def import_in_thread(name: str) -> None:
    """Import a module without blocking the event loop.

    pyarrow, numpy and pandas take seconds on a busy machine.
    """
    # A module in `sys.modules` may still be importing in another thread.
    if name not in _imported:
        await run_sync(import_module, name)
        _imported.add(name)


@asynccontextmanager
async def in_thread_context(make: Callable[[], T], drop: Callable[[T], object]) -> AsyncIterator[T]:
    """A resource that is created and released in a thread, however the block ends."""
    made: list[T] = []
    try:
        await run_sync(lambda: made.append(make()))
        yield made[0]
    finally:
        with anyio.CancelScope(shield=True):
            for one in made:
                await run_sync(drop, one)


def entered_in_thread(context: AbstractContextManager[T]) -> AbstractAsyncContextManager[T]:
    """A context manager whose both ends are called in a thread."""
    return in_thread_context(context.__enter__, lambda _: context.__exit__(None, None, None))


class Aborted(Exception):
    """The work of the thread is not needed any more."""


class Inbox(Generic[T]):
    """Items for a worker thread: it waits for items, and the event loop waits for room."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._items = deque[tuple[T, int]]()
        self._bytes = 0
        self._changed = Condition()
        self._has_room: anyio.Event | None = None
        self._is_closed = self._is_aborted = False

    async def put(self, item: T, nbytes: int = 0) -> None:
        """Add an item of this size, as soon as there is room."""
        while True:
            with self._changed:
                if self._is_aborted:
                    raise Aborted
                if self._has_room_for(nbytes):
                    self._items.append((item, nbytes))
                    self._bytes += nbytes
                    self._changed.notify()
                    return
                has_room = self._has_room = anyio.Event()
            await has_room.wait()

    def _has_room_for(self, nbytes: int) -> bool:
        if not self._items:
            return True
        return len(self._items) < self._size and self._bytes + nbytes <= _INBOX_BYTES

    def close(self) -> None:
        """There are no more items."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()

    def abort(self) -> None:
        """In the event loop: make the thread stop at its next item, and accept no more."""
        with self._changed:
            self._is_aborted = True
            self._changed.notify()
        if self._has_room:
            self._has_room.set()

    def checked(self, items: Iterable[R]) -> Iterator[R]:
        """In the thread: the items, unless it is to stop."""
        for item in items:
            if self._is_aborted:
                raise Aborted
            yield item

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        """In the thread: the next item."""
        with self._changed:
            while not (self._items or self._is_closed or self._is_aborted):
                self._changed.wait()
            if self._is_aborted:
                raise Aborted
            if not self._items:
                raise StopIteration
            item, nbytes = self._items.popleft()
            self._bytes -= nbytes
            # Not for each item: waking the event loop is slow.
            has_room = self._has_room if len(self._items) <= self._size // 2 else None
            if has_room:
                self._has_room = None
        if has_room:
            anyio.from_thread.run_sync(has_room.set)
        return item


async def feed_thread(
    work: Callable[[Inbox[T]], R], feed: Callable[[Inbox[T]], Awaitable[object]], size: int
) -> R:
    """Run `work` in a worker thread while `feed` fills its inbox; returns the result of `work`.

    If one of them fails, or both are cancelled, the other one is stopped and waited for.
    """
    inbox = Inbox[T](size)
    results: list[R] = []
    # The thread waits for other threads: it must not use up their limit.
    own_thread = anyio.CapacityLimiter(1)
    ended = anyio.Event()

    async def run() -> None:
        try:
            # The inbox tells the thread when to stop.
            with anyio.CancelScope(shield=True), suppress(Aborted):
                results.append(await anyio.to_thread.run_sync(work, inbox, limiter=own_thread))
        finally:
            inbox.abort()
            ended.set()

    async with task_group() as tasks:
        tasks.start_soon(run)
        try:
            with suppress(Aborted):
                await feed(inbox)
            inbox.close()
            await ended.wait()
        finally:
            inbox.abort()
    return results[0]


async def nothing(_: Inbox[T]) -> None:
    """For `feed_thread`, if the thread needs no items."""
