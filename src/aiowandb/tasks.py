"""Task groups whose errors come out as themselves, and reading ahead that may be left any time."""

from __future__ import annotations

import threading
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Sequence,
)
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Generic, Protocol, Self, TypeVar, runtime_checkable

import anyio
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectSendStream

T = TypeVar("T")
R = TypeVar("R")
T_co = TypeVar("T_co", covariant=True)


@runtime_checkable
class _Closable(Protocol):
    def aclose(self) -> Awaitable[object]: ...


class Stream(Protocol[T_co]):
    """Items that come with time, and that may be left early."""

    def __aiter__(self) -> AsyncIterator[T_co]: ...

    def __anext__(self) -> Awaitable[T_co]: ...

    def aclose(self) -> Awaitable[object]: ...


@asynccontextmanager
async def task_group() -> AsyncIterator[TaskGroup]:
    """An anyio task group that raises the first error of its tasks."""
    try:
        async with anyio.create_task_group() as tasks:
            yield tasks
    except BaseExceptionGroup as group:
        raise _first(group) from None


async def each_of(items: AsyncIterable[T] | Iterable[T]) -> AsyncGenerator[T]:
    """The items, whether they come with time or are there; what reads them ahead is stopped."""
    if isinstance(items, AsyncIterable):
        iterator = aiter(items)
        try:
            async for item in iterator:
                yield item
        finally:
            if isinstance(iterator, _Closable):
                await iterator.aclose()
    else:
        for item in items:
            yield item


async def gather(
    items: AsyncIterable[T] | Iterable[T], work: Callable[[T], Awaitable[R]], at_once: int
) -> list[R]:
    """What `work` makes of each item, in the order of the items, so many at once."""
    places = anyio.Semaphore(at_once)
    done: dict[int, R] = {}

    async def one(number: int, item: T) -> None:
        done[number] = await work(item)
        places.release()

    async with aclosing(each_of(items)) as every, task_group() as tasks:
        number = 0
        async for item in every:
            await places.acquire()
            tasks.start_soon(one, number, item)
            number += 1
    return [done[number] for number in sorted(done)]


class ReadAhead(Generic[T]):
    """The items of a generator, the next ones made in a task while this one is used.

    The task belongs to the given group. It ends when the items do, and when this
    iterator is closed or forgotten: a loop over it may be left with a plain `break`.
    """

    def __init__(self, items: AsyncGenerator[T], tasks: TaskGroup, max_ahead: int = 1) -> None:
        # One item is always in the hand of the task, waiting to be sent.
        send, self._items = anyio.create_memory_object_stream[T | _Failure](max_ahead - 1)
        self._scope = anyio.CancelScope()
        self._ended = anyio.Event()
        self._thread = threading.get_ident()
        tasks.start_soon(_feed, items, send, self._scope, self._ended)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        try:
            item = await self._items.receive()
        except (anyio.EndOfStream, anyio.ClosedResourceError):
            raise StopAsyncIteration from None
        if isinstance(item, _Failure):
            raise item.error
        return item

    async def aclose(self) -> None:
        """Stop what is under way, and wait until it has stopped."""
        self.__del__()
        # As a task group does, also for whoever is cancelled: the task is cancelled as well.
        with anyio.CancelScope(shield=True):
            await self._ended.wait()

    def __del__(self) -> None:
        self._items.close()
        # Garbage may be collected by any thread, and only its own may touch the loop.
        # The task then ends where it next tries to send.
        if self._thread == threading.get_ident():
            with suppress(RuntimeError):  # the loop is over, and the task with it
                self._scope.cancel()


class Items(Generic[T]):
    """The items of pages, one by one."""

    def __init__(self, pages: Stream[Sequence[T]]) -> None:
        self.pages = pages
        self._page: Iterator[T] = iter(())

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        while True:
            for item in self._page:
                return item
            self._page = iter(await self.pages.__anext__())

    async def aclose(self) -> None:
        """Stop what is under way."""
        await self.pages.aclose()


class _Failure:
    def __init__(self, error: Exception) -> None:
        self.error = error


async def _feed(
    items: AsyncGenerator[T],
    send: MemoryObjectSendStream[T | _Failure],
    scope: anyio.CancelScope,
    ended: anyio.Event,
) -> None:
    try:
        with scope:
            async with send, aclosing(items):
                with suppress(anyio.BrokenResourceError):  # nobody reads any more
                    try:
                        async for item in items:
                            await send.send(item)
                    except Exception as error:
                        await send.send(_Failure(error))
    finally:
        ended.set()


def _first(error: BaseException) -> BaseException:
    # Interrupts weigh more than failures: whoever pressed Ctrl-C wants to see that.
    while isinstance(error, BaseExceptionGroup):
        urgent = [e for e in error.exceptions if not isinstance(e, Exception)]
        error = (urgent or error.exceptions)[0]
    return error
