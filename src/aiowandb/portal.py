"""An event loop in a thread of its own, for code that has none or may not use its own."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, suppress
from typing import NoReturn, ParamSpec, TypeVar

import anyio
import anyio.from_thread

from aiowandb.errors import UsageError
from aiowandb.tasks import Stream

P = ParamSpec("P")
T = TypeVar("T")


class Portal:
    """Runs async functions for a thread that waits for them.

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
        atexit.register(self.close)

    async def _live(self) -> None:
        async with anyio.from_thread.BlockingPortal() as self._portal:
            self._ready.set()
            await self._portal.sleep_until_stopped()

    def keep_open(self, make: Callable[[], AbstractAsyncContextManager[T]]) -> T:
        """Make the context on the loop, enter it, and leave it when the portal is closed."""

        @asynccontextmanager
        async def kept_open() -> AsyncIterator[T]:
            async with make() as context:
                yield context

        wrapped = self._running().wrap_async_context_manager(kept_open())
        try:
            return self._kept_open.enter_context(wrapped)
        except BaseException:
            self.close()
            raise

    def call(self, function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run the function on the loop and wait for what it gives."""

        async def call() -> T:
            return await function(*args, **kwargs)

        return self._call(call)

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

        items = self._call(start)
        try:
            while not isinstance(item := self._call(advance), _End):
                yield item
        finally:
            with suppress(UsageError):  # closed before this, and the items with it
                self._call(items.aclose)

    def close(self) -> None:
        """Leave what was kept open and stop the loop."""
        atexit.unregister(self.close)
        if self._portal and self._process == os.getpid():
            try:
                self._kept_open.close()
            finally:
                portal, self._portal = self._portal, None
                portal.call(portal.stop, True)
                self._thread.join()

    def __reduce__(self) -> NoReturn:
        raise UsageError("An Api stays in its process: make a new one in the other.")

    def _call(self, function: Callable[[], Awaitable[T]]) -> T:
        under_way = self._running().start_task_soon(function)
        try:
            return under_way.result()
        finally:
            under_way.cancel()  # if the wait for it was interrupted

    def _running(self) -> anyio.from_thread.BlockingPortal:
        if self._process != os.getpid():
            raise UsageError(
                "This Api was made before the process forked, and its connections stayed"
                " in the parent: make a new Api in the child."
            )
        if self._portal is None:
            raise UsageError("This Api is closed.")
        return self._portal


class _End:
    """What comes after the last item."""
