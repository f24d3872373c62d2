"""Task groups that raise single errors, and asynchronous iterators."""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Iterable,
    Iterator,
    Sequence,
)
from contextlib import aclosing, asynccontextmanager
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    NoReturn,
    Protocol,
    Self,
    TypeVar,
    TypeVarTuple,
    runtime_checkable,
)

import anyio
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

T = TypeVar("T")
R = TypeVar("R")
T_co = TypeVar("T_co", covariant=True)
Args = TypeVarTuple("Args")


@runtime_checkable
class _Closable(Protocol):
    def aclose(self) -> Awaitable[object]: ...


class Stream(Protocol[T_co]):
    """An asynchronous iterator that can be closed early."""

    def __aiter__(self) -> AsyncIterator[T_co]: ...

    def __anext__(self) -> Awaitable[T_co]: ...

    def aclose(self) -> Awaitable[object]: ...


class Tasks:
    """The tasks of a group."""

    def __init__(self, group: TaskGroup) -> None:
        self._group = group

    @property
    def cancel_scope(self) -> anyio.CancelScope:
        return self._group.cancel_scope

    def start_soon(
        self, work: Callable[[*Args], Coroutine[Any, Any, object]], *args: *Args
    ) -> None:
        """Run `work` in a task. If it never begins, the streams in its arguments are closed."""
        self._group.create_task(_Deferred(work, args), name=getattr(work, "__qualname__", None))


class _Deferred(Coroutine[Any, Any, object]):
    """Calls its function when it is awaited, and not before.

    When asyncio's loop ends, it also ends tasks that have not begun. anyio has already called
    their functions then, and Python warns about coroutines that were never awaited.
    """

    def __init__(self, work: Callable[..., Coroutine[Any, Any, object]], args: Any) -> None:
        self._work = work
        self._args = args
        self._coroutine: Coroutine[Any, Any, object] | None = None

    def __await__(self) -> Generator[Any, Any, object]:
        return self._begun().__await__()

    def send(self, value: Any) -> Any:
        return self._begun().send(value)

    def throw(self, *error: Any) -> Any:
        return self._begun().throw(*error)

    def close(self) -> None:
        if self._coroutine:
            self._coroutine.close()

    def __del__(self) -> None:
        if self._coroutine is None:
            for stream in self._args:
                if isinstance(stream, MemoryObjectSendStream | MemoryObjectReceiveStream):
                    stream.close()

    def _begun(self) -> Coroutine[Any, Any, object]:
        if self._coroutine is None:
            self._coroutine = self._work(*self._args)
        return self._coroutine


@asynccontextmanager
async def task_group() -> AsyncIterator[Tasks]:
    """An anyio task group that raises the first error of its tasks."""
    try:
        async with anyio.create_task_group() as group:
            yield Tasks(group)
    except BaseExceptionGroup as group:
        raise _first(group) from None


async def each_of(items: AsyncIterable[T] | Iterable[T]) -> AsyncGenerator[T]:
    """The items of any iterable, asynchronous or not; it is closed in the end."""
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
    """The results of `work` for each item, in the order of the items, `at_once` at a time."""
    slots = anyio.Semaphore(at_once)
    done: dict[int, R] = {}

    async def one(number: int, item: T) -> None:
        done[number] = await work(item)
        slots.release()

    async with aclosing(each_of(items)) as every, task_group() as tasks:
        number = 0
        async for item in every:
            await slots.acquire()
            tasks.start_soon(one, number, item)
            number += 1
    return [done[number] for number in sorted(done)]


class AsyncOnly:
    """Raises errors that say what to write where `async` or `await` was forgotten."""

    # Hidden from type checkers, which report these mistakes by themselves.
    if not TYPE_CHECKING:

        def __iter__(self) -> NoReturn:
            raise TypeError(
                f"{type(self).__name__} is asynchronous: write `async for` instead of `for`"
                f" (in a comprehension too, instead of list() and the like){self._all_at_once}."
            )

        def __contains__(self, _: object) -> NoReturn:
            iter(self)

        def __reversed__(self) -> NoReturn:
            iter(self)

        def __len__(self) -> NoReturn:
            raise TypeError(
                f"{type(self).__name__} is asynchronous and has no len() and no truth value:"
                f" go through it with `async for`{self._all_at_once}{self._counted}."
            )

    _all_at_once = _counted = ""


class Items(AsyncOnly, Generic[T]):
    """The single items of pages."""

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
        """Stop reading, and cancel the tasks in progress."""
        await self.pages.aclose()


class Delivered(AsyncOnly, Generic[T]):
    """The same items; a function is called just before each is given to the reader."""

    def __init__(self, items: Stream[T], on_item: Callable[[], object]) -> None:
        self._items = items
        self._on_item = on_item

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        item = await self._items.__anext__()
        self._on_item()
        return item

    async def aclose(self) -> None:
        """Stop reading, and cancel the tasks in progress."""
        await self._items.aclose()


class OnDemand(AsyncOnly, Generic[T]):
    """The items of a generator, each made when it is requested."""

    def __init__(self, items: AsyncGenerator[T]) -> None:
        self._items = items

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        return await self._items.__anext__()

    async def aclose(self) -> None:
        """Stop reading, and cancel the tasks in progress."""
        await self._items.aclose()


def _first(error: BaseException) -> BaseException:
    # Interrupts come first: Ctrl-C must not be hidden by another error.
    while isinstance(error, BaseExceptionGroup):
        urgent = [e for e in error.exceptions if not isinstance(e, Exception)]
        error = (urgent or error.exceptions)[0]
    return error
