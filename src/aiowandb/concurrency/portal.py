"""An event loop in a background thread, for code without an event loop of its own."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, suppress
from typing import Generic, NoReturn, ParamSpec, TypeVar

import anyio
import anyio.from_thread

from aiowandb.concurrency.tasks import Stream
from aiowandb.errors import UsageError
from aiowandb.user_warnings import CollectedWarnings

P = ParamSpec("P")
T = TypeVar("T")


class Portal:
    """Runs async functions for threads that wait for the results.

    The loop ends when the portal is closed or garbage-collected, and when Python exits.
    """

    def __init__(self) -> None:
        self._loop = _Loop()
        self._is_entered = False
        weakref.finalize(self, self._loop.stop_soon).atexit = False

    def keep_open(self, make: Callable[[], AbstractAsyncContextManager[T]]) -> T:
        """Make and enter a context on the loop, and exit it when the portal is closed."""

        collected = CollectedWarnings()

        @asynccontextmanager
        async def kept_open() -> AsyncIterator[T]:
            with collected.collecting():
                context = make()
            async with context as opened:
                yield opened

        try:
            opened = self._loop.keep_open(kept_open())
            collected.show()
        except BaseException:
            self.close()
            raise
        return opened

    def call(self, function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run the function on the loop and wait for its result."""

        async def call() -> T:
            return await function(*args, **kwargs)

        return self._run(call, CollectedWarnings())

    def iterate(
        self, function: Callable[P, Stream[T]], *args: P.args, **kwargs: P.kwargs
    ) -> Generator[T]:
        """The items of the stream that the function returns, one at a time."""

        started: list[Stream[T]] = []
        collected = CollectedWarnings()

        async def start() -> None:
            started.append(function(*args, **kwargs))

        async def advance() -> T | _EndOfStream:
            try:
                return await started[0].__anext__()
            except StopAsyncIteration:
                return _EndOfStream()

        async def stop() -> None:
            for items in started:
                await items.aclose()

        try:
            # From now on it may read ahead, so it must be stopped even if this is interrupted.
            self._run(start, collected)
            while not isinstance(item := self._run(advance, collected), _EndOfStream):
                yield item
        finally:
            if self._loop.runs_here:  # else it has ended with the loop
                self._loop.run(stop)

    def _run(self, work: Callable[[], Awaitable[T]], collected: CollectedWarnings) -> T:
        """Run it on the loop; its warnings are shown in this thread, at the caller's line."""

        async def collecting() -> T:
            with collected.collecting():
                return await work()

        try:
            return self._loop.run(collecting)
        finally:
            collected.show()

    def enter(self) -> None:
        """Called by `with`, which may only be used once."""
        self._loop.require()
        if self._is_entered:
            raise UsageError(
                "This API client was entered before: use it inside of the outer `with`,"
                " or make a new one."
            )
        self._is_entered = True

    def close(self) -> None:
        """Exit the contexts and stop the loop."""
        self._loop.stop()

    def __reduce__(self) -> NoReturn:
        raise UsageError("An Api cannot be sent to another process: make a new one there.")


class _Loop:
    """The loop and its thread, independent of their users.

    The thread is a daemon: a script that forgets to close its portal still ends.
    """

    def __init__(self) -> None:
        self._process = os.getpid()
        self._ready = threading.Event()
        self._portal: anyio.from_thread.BlockingPortal | None = None
        self._kept_open = ExitStack()
        self._thread = threading.Thread(
            target=anyio.run, args=(self._live,), daemon=True, name="aiowandb-portal"
        )
        self._thread.start()
        self._ready.wait()
        atexit.register(self.stop)

    async def _live(self) -> None:
        async with anyio.from_thread.BlockingPortal() as self._portal:
            self._ready.set()
            await self._portal.sleep_until_stopped()

    @property
    def runs_here(self) -> bool:
        return self._portal is not None and self._process == os.getpid()

    def keep_open(self, context: AbstractAsyncContextManager[T]) -> T:
        return self._kept_open.enter_context(self.require().wrap_async_context_manager(context))

    def run(self, function: Callable[[], Awaitable[T]]) -> T:
        portal = self.require()
        call = _Call(function)
        try:
            return portal.start_task_soon(call.run).result()
        except BaseException:
            # Ctrl-C, or an exception of another signal handler. The caller may repeat the call at
            # once or exit, so nothing of this call may still be running. A second Ctrl-C ends
            # this wait, too.
            if not call.has_ended:
                call.is_stopped = True
                with suppress(RuntimeError):  # the loop has ended, and the call with it
                    portal.start_task_soon(call.stop).result()
            raise

    def stop(self) -> None:
        atexit.unregister(self.stop)
        if self._portal and self.runs_here:
            try:
                self._kept_open.close()
            finally:
                portal, self._portal = self._portal, None
                portal.call(portal.stop, True)
                self._thread.join()

    def stop_soon(self) -> None:
        # Garbage is collected by any thread, even the loop's own, so this must not wait.
        if self.runs_here:
            threading.Thread(target=self.stop, daemon=True).start()

    def require(self) -> anyio.from_thread.BlockingPortal:
        if self._process != os.getpid():
            raise UsageError(
                "This Api was made before the process forked, and its connections belong to"
                " the parent: make a new Api in the child process."
            )
        if self._portal is None:
            raise UsageError("This API client is closed: make a new one.")
        return self._portal


class _Call(Generic[T]):
    """A call that can be stopped at any time, even before it has started."""

    def __init__(self, function: Callable[[], Awaitable[T]]) -> None:
        self._function = function
        self._under_way: tuple[anyio.CancelScope, anyio.Event] | None = None
        self.is_stopped = self.has_ended = False

    async def run(self) -> T:
        scope, ended = self._under_way = anyio.CancelScope(), anyio.Event()
        try:
            with scope:
                if not self.is_stopped:
                    return await self._function()
            raise UsageError("This call was stopped.")
        finally:
            self.has_ended = True
            ended.set()

    async def stop(self) -> None:
        """Cancel the call and wait until it has ended. If it has not started, it never will."""
        if self._under_way:
            scope, ended = self._under_way
            scope.cancel()
            await ended.wait()


class _EndOfStream:
    """Marks the end of a stream."""
