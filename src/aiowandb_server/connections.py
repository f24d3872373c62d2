"""Limits what clients can send before it is known who they are.

A head that never ends would fill the memory, and connections that never send one would use up the
open files of the process.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

# A connection without a request is closed after this time, or up to twice as long.
HEAD_TIMEOUT_S = 20.0
# Twice what h11 accepts: servers count in pieces as they come from the network.
_LONGEST_HEAD = 128 * 1024
# Requests that a connection sends before it has the answer to the one before.
_MOST_WAITING = 100
_OPEN_FILES = 65_536
_TOO_LONG = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"connection: close\r\n"
    b"content-length: 0\r\n\r\n"
)


class _IdleTimer:
    """Closes a connection that has had no request for a while. See uvicorn's protocols."""

    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    cycle: Any  # the last request
    head_timeout = HEAD_TIMEOUT_S
    _check: asyncio.TimerHandle | None = None
    _seen: Any = None

    def start(self) -> None:
        self._seen = self.cycle
        self._check = self.loop.call_later(self.head_timeout, self._close_if_idle)

    def stop(self) -> None:
        if self._check is not None:
            self._check.cancel()
            self._check = None

    def _close_if_idle(self) -> None:
        if self.transport.is_closing():
            return
        in_progress = self.cycle is not None and not self.cycle.response_complete
        if in_progress or self.cycle is not self._seen:
            self.start()
        else:
            self.transport.close()


class _H11Connection(_IdleTimer, H11Protocol):
    """h11 limits the size of heads itself."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.start()

    def connection_lost(self, exc: Exception | None) -> None:
        self.stop()
        super().connection_lost(exc)


def _httptools_connection() -> type[asyncio.Protocol] | None:
    try:
        from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
    except ImportError:
        return None

    class HttpToolsConnection(_IdleTimer, HttpToolsProtocol):
        """Counts the bytes since the last head or piece of a body was complete."""

        _pending = 0

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self.start()

        def connection_lost(self, exc: Exception | None) -> None:
            self.stop()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            self._pending += len(data)
            super().data_received(data)
            if self._pending > _LONGEST_HEAD and not self.transport.is_closing():
                # After a response has begun, another one would be part of it.
                if self.cycle is None or self.cycle.response_complete:
                    self.transport.write(_TOO_LONG)
                self.transport.close()

        def on_headers_complete(self) -> None:
            if len(self.pipeline) >= _MOST_WAITING:
                # What came with them is not parsed, either: thousands fit into one read.
                self.transport.close()
                raise ConnectionError("too many requests wait for the answer to another")
            self._pending = 0
            super().on_headers_complete()

        def on_body(self, body: bytes) -> None:
            self._pending = 0
            super().on_body(body)

        def on_message_complete(self) -> None:
            self._pending = 0
            super().on_message_complete()

    return HttpToolsConnection


def connection_class() -> type[asyncio.Protocol]:
    """The protocol of the connections: that of httptools if it is installed, which is faster."""
    return _httptools_connection() or _H11Connection


def allow_more_connections() -> None:
    """Raise the limit of open files to what the system permits this process."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    if soft < wanted:
        # Some systems have a lower limit than they say.
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
