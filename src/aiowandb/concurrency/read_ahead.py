"""Reading ahead: the next item of a generator is made while the current one is used."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from functools import partial
from typing import Generic, Self, TypeVar

import anyio
import anyio.lowlevel
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from aiowandb.concurrency.background import BackgroundTask, BackgroundTasks, call_soon, current_loop
from aiowandb.concurrency.tasks import AsyncOnly
from aiowandb.errors import UsageError
from aiowandb.user_warnings import CollectedWarnings

T = TypeVar("T")


class ReadAhead(AsyncOnly, Generic[T]):
    """The items of a generator; the next ones are made in a task while this one is used.

    The task belongs to `tasks`. It ends with the items, or when this iterator is closed or
    garbage-collected: a loop over it can be left with a plain `break`. Then `on_left` is called,
    in the event loop.
    """

    _is_closed = True  # until there is something to close

    def __init__(
        self,
        items: AsyncGenerator[T],
        tasks: BackgroundTasks,
        max_ahead: int = 1,
        on_left: Callable[[], object] = lambda: None,
    ) -> None:
        self._loop = current_loop()
        if self._loop is None:
            raise UsageError("Reading ahead needs an event loop, and none is running here.")
        # The task always has one more item, which waits to be sent.
        send, self._items = anyio.create_memory_object_stream[T | _Failure](max_ahead - 1)
        self._end = _End()
        self._on_left = on_left
        self._warnings = CollectedWarnings()
        at_end = partial(_close_streams, send, self._items, self._end)
        self._task = tasks.start(_feed, items, send, self._end, self._warnings, at_end=at_end)
        self._is_closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        self._require_own_loop()
        try:
            return await self._receive()
        finally:
            self._show_warnings()

    def _show_warnings(self) -> None:
        if self._is_closed:
            return
        try:
            self._warnings.show()
        except BaseException:
            # The user has made an error of it, and may never come back.
            self.drop()
            raise

    async def _receive(self) -> T:
        try:
            item = await self._items.receive()
        except (anyio.EndOfStream, anyio.ClosedResourceError):
            self._items.close()
            if self._is_closed or self._end.is_reached:
                raise StopAsyncIteration from None
            # Ending here would look as if these were all items.
            raise UsageError(
                "The API client was closed before all items were read: read them inside of its"
                " `async with` block."
            ) from None
        if isinstance(item, _Failure):
            # Now: an error makes a cycle, and the stream may be garbage-collected before this.
            self._items.close()
            raise item.error
        return item

    @property
    def is_lost(self) -> bool:
        """Whether the task was stopped before all items were made."""
        return self._is_closed or (self._task.is_stopped and not self._end.is_reached)

    def expire_at(self, time: float) -> None:
        """Stop the task at this time of the event loop's clock; never, if it is infinite."""
        self._task.cancel_at(time)

    def drop(self) -> None:
        """Stop the task, and do not wait for its end."""
        if not self._is_closed:
            self._is_closed = True
            _forget(self._items, self._task, self._on_left)

    async def aclose(self) -> None:
        """Stop the task, and wait until it has ended."""
        if not self._is_closed:
            self._require_own_loop()
            self.drop()
            await self._task.stop()

    def __del__(self) -> None:
        if self._is_closed:
            return
        items, task, on_left = self._items, self._task, self._on_left
        if current_loop() is self._loop:
            _forget(items, task, on_left)
            return
        # This may run in any thread, and only the loop's own thread may touch the task.
        try:
            call_soon(self._loop, lambda: _forget(items, task, on_left))
        except RuntimeError:  # the loop has ended, and the task with it
            items.close()

    def _require_own_loop(self) -> None:
        if current_loop() is not self._loop:
            raise UsageError(
                "This iterator belongs to another event loop or thread: use it where it was made."
            )


class _Failure:
    def __init__(self, error: BaseException) -> None:
        self.error = error


class _End:
    """Whether the generator has ended, with or without an error."""

    is_reached = False


def _close_streams(
    send: MemoryObjectSendStream[T], items: MemoryObjectReceiveStream[T], end: _End
) -> None:
    send.close()
    if not end.is_reached:  # a reader gets an error, and nothing stays open
        items.close()


def _forget(
    items: MemoryObjectReceiveStream[T], task: BackgroundTask, on_left: Callable[[], object]
) -> None:
    items.close()
    task.cancel()
    on_left()


async def _feed(
    items: AsyncGenerator[T],
    send: MemoryObjectSendStream[T | _Failure],
    end: _End,
    warnings: CollectedWarnings,
) -> None:
    async with send, aclosing(items):
        try:
            # Broken: there is no reader any more.
            with warnings.collecting(), suppress(anyio.BrokenResourceError):
                async for item in items:
                    await send.send(item)
                    # The reader need not wait until the next one is made, too.
                    await anyio.lowlevel.checkpoint()
            end.is_reached = True
        except (GeneratorExit, anyio.get_cancelled_exc_class()):
            raise
        except BaseException as error:
            # It is raised in the reader, even if it is an interrupt: here it would end the event
            # loop.
            end.is_reached = True
            try:
                await send.send(_Failure(error))
            except anyio.BrokenResourceError:
                if not isinstance(error, Exception):
                    raise error from None
