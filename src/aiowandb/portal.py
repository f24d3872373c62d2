"""An event loop in a thread of its own, for code that has none or may not use its own."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from typing import Generic, NoReturn, ParamSpec, TypeVar

import anyio
import anyio.from_thread

from aiowandb.errors import UsageError
from aiowandb.tasks import Stream

P = ParamSpec("P")
T = TypeVar("T")


class Portal:
    """Runs async functions for a thread that waits for them.

    The loop ends when the portal is closed or forgotten, and with the interpreter.
    """

    def __init__(self) -> None:
        self._loop = _Loop()
        weakref.finalize(self, self._loop.stop_soon).atexit = False

    def keep_open(self, make: Callable[[], AbstractAsyncContextManager[T]]) -> T:
        """Make the context on the loop, enter it, and leave it when the portal is closed."""

        @asynccontextmanager
        async def kept_open() -> AsyncIterator[T]:
            async with make() as context:
                yield context

        try:
            return self._loop.keep_open(kept_open())
        except BaseException:
            self.close()
            raise

    def call(self, function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run the function on the loop and wait for what it gives."""

        async def call() -> T:
            return await function(*args, **kwargs)

        return self._loop.run(call)

    def iterate(
        self, function: Callable[P, Stream[T]], *args: P.args, **kwargs: P.kwargs
    ) -> Iterator[T]:
        """The items that the function gives, one at a time."""

        async def start() -> Stream[T]:
            return function(*args, **kwargs)

        async def advance() -> T | _End:
            try:
                return await items.__anext__()
            except StopAsyncIteration:
                return _End()

        items = self._loop.run(start)
        try:
            while not isinstance(item := self._loop.run(advance), _End):
                yield item
        finally:
            if self._loop.runs_here:  # else they have ended with it
                self._loop.run(items.aclose)

    def close(self) -> None:
        """Leave what was kept open and stop the loop."""
        self._loop.stop()

    def __reduce__(self) -> NoReturn:
        raise UsageError("An Api stays in its process: make a new one in the other.")


class _Loop:
    """The loop and its thread, which know nothing of who uses them.

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
        return self._kept_open.enter_context(self._running().wrap_async_context_manager(context))

    def run(self, function: Callable[[], Awaitable[T]]) -> T:
        portal = self._running()
        call = _Call(function)
        try:
            return portal.start_task_soon(call.run).result()
        except (KeyboardInterrupt, SystemExit):
            portal.start_task_soon(call.leave)
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
        # Garbage may be collected by any thread, also by the loop's own, and none may wait here.
        if self.runs_here:
            threading.Thread(target=self.stop, daemon=True).start()

    def _running(self) -> anyio.from_thread.BlockingPortal:
        if self._process != os.getpid():
            raise UsageError(
                "This Api was made before the process forked, and its connections stayed"
                " in the parent: make a new Api in the child."
            )
        if self._portal is None:
            raise UsageError("This Api is closed.")
        return self._portal


class _Call(Generic[T]):
    """A call that can be left at any moment, also before it is known to have begun."""

    def __init__(self, function: Callable[[], Awaitable[T]]) -> None:
        self._function = function
        self._scope: anyio.CancelScope | None = None
        self._is_left = False

    async def run(self) -> T:
        with anyio.CancelScope() as self._scope:
            if not self._is_left:
                return await self._function()
        raise UsageError("This call was left.")

    async def leave(self) -> None:
        self._is_left = True
        if self._scope:
            self._scope.cancel()


class _End:
    """What comes after the last item."""
