"""When and in which event loop a session may be used, and what is closed with it."""

from __future__ import annotations

import weakref
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import anyio

from aiowandb.concurrency.background import BackgroundTasks, call_soon, current_loop
from aiowandb.errors import UsageError
from aiowandb.net.transports import HttpClient

_CLOSED = "This API client is closed. Create a new one."
_CLOSED_MEANWHILE = "This API client was closed before W&B had answered."


class Lifetime:
    """Open until it is closed, by any task of the event loop that used it first.

    Connections that are never closed are closed when the loop ends, or on garbage collection.
    """

    def __init__(self, http: HttpClient) -> None:
        self.tasks = BackgroundTasks()
        self.is_closed = self.is_entered = False
        self._calls: set[anyio.CancelScope] = set()
        self._loop: Any | None = None
        self._http = http
        self._closer: AsyncGenerator[None] | None = None
        self._finalizer: weakref.finalize[..., Lifetime] | None = None

    def enter(self) -> None:
        self.require_loop()
        if self.is_entered:
            raise UsageError(
                "This API client was entered before: use the one of the outer `async with`,"
                " or create another one."
            )
        self.is_entered = True

    def require_open(self) -> None:
        """Raise if it is closed."""
        if self.is_closed:
            raise UsageError(_CLOSED)

    def require_loop(self) -> None:
        """Raise if it is closed, or if this is not a task of its event loop."""
        self.require_open()
        loop = current_loop()
        if loop is None:
            raise UsageError(
                "Use an AsyncApi in a task of its event loop, not in another thread."
                " `Api` can be used in any thread."
            )
        if self._loop is None:
            self._bind(loop)
        elif self._loop is not loop:
            raise UsageError(
                "This AsyncApi belongs to another event loop, the one that it was first used in."
                " Create an AsyncApi for each loop, or use `Api`, which works in any thread."
            )

    @contextmanager
    def call(self) -> Iterator[None]:
        """A request is in progress in this block. It is cancelled if the session is closed."""
        self.require_loop()
        with anyio.CancelScope() as scope:
            self._calls.add(scope)
            try:
                yield
            except RuntimeError as error:
                # httpx says it of a request that was about to be sent.
                if self.is_closed:
                    raise UsageError(_CLOSED_MEANWHILE) from error
                raise
            finally:
                self._calls.discard(scope)
        if scope.cancelled_caught:
            raise UsageError(_CLOSED_MEANWHILE)

    async def aclose(self) -> None:
        if self.is_closed:
            return
        if self._loop:
            self.require_loop()
        self.is_closed = True
        for scope in tuple(self._calls):
            scope.cancel()
        try:
            await self.tasks.aclose()
        finally:
            if self._finalizer:
                self._finalizer.detach()
            with anyio.CancelScope(shield=True):
                await self._http.aclose()
                if self._closer:
                    with suppress(RuntimeError):  # the loop is ending, and closes it itself
                        await self._closer.aclose()

    def _bind(self, loop: Any) -> None:
        self._loop = loop
        # Event loops close the generators that are open when they end.
        self._closer = closer = _closer(self._http)
        with suppress(StopIteration):
            closer.__anext__().send(None)
        self._finalizer = weakref.finalize(self, _close_soon, loop, closer)
        self._finalizer.atexit = False


async def _closer(http: HttpClient) -> AsyncGenerator[None]:
    try:
        yield
    finally:
        with anyio.CancelScope(shield=True):
            await http.aclose()


# For sessions that were never closed and have been garbage-collected.
_closing = BackgroundTasks()
_left_to_the_loop: weakref.WeakKeyDictionary[Any, list[object]] = weakref.WeakKeyDictionary()


def _close_soon(loop: Any, closer: AsyncGenerator[None]) -> None:
    async def close() -> None:
        with suppress(Exception):  # there is no caller to report it to
            await closer.aclose()

    def start() -> None:
        try:
            _closing.start(close)
        except RuntimeError:  # the loop is ending, and closes it itself
            _left_to_the_loop.setdefault(loop, []).append(closer)

    with suppress(RuntimeError):  # the loop has ended, and has closed it
        call_soon(loop, start)
