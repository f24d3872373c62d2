"""An event loop in a thread of its own, for code that has none or may not use its own."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from typing import ParamSpec, TypeVar

import anyio
import anyio.from_thread

from aiowandb.errors import UsageError
from aiowandb.tasks import read_ahead

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
        self._thread = threading.Thread(target=anyio.run, args=(self._live,), daemon=True)
        self._thread.name = "aiowandb-portal"
        self._thread.start()
        self._ready.wait()
        atexit.register(self.close)

    async def _live(self) -> None:
        async with anyio.from_thread.BlockingPortal() as self._portal:
            self._ready.set()
            await self._portal.sleep_until_stopped()

    def call(self, function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run the function on the loop and wait for what it gives."""

        async def call() -> T:
            return await function(*args, **kwargs)

        return self._open().call(call)

    def iterate(self, items: AsyncGenerator[T]) -> Iterator[T]:
        """The generator's items; the next one is made while this one is used."""
        portal = self._open()
        with portal.wrap_async_context_manager(read_ahead(items)) as stream:
            while True:
                try:
                    item = portal.call(stream.receive)
                except anyio.EndOfStream:
                    return
                yield item

    def close(self) -> None:
        """Stop the loop; what is still running on it is cancelled."""
        atexit.unregister(self.close)
        portal, self._portal = self._portal, None
        if portal and self._process == os.getpid():
            portal.call(portal.stop, True)
            self._thread.join()

    def _open(self) -> anyio.from_thread.BlockingPortal:
        if self._process != os.getpid():
            raise UsageError(
                "This Api was made before the process forked, and its connections stayed"
                " in the parent: make a new Api in the child."
            )
        if self._portal is None:
            raise UsageError("This Api is closed.")
        return self._portal
