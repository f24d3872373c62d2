"""Serves the embedded W&B with uvicorn: a callback when it is ready, and a clean shutdown."""

from __future__ import annotations

import asyncio
import ctypes
import signal
import socket
import sys
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import uvicorn

from aiowandb_server.connections import allow_more_connections, connection_class
from aiowandb_server.gate import RequestGate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from starlette.types import ASGIApp

# Requests in progress may finish at shutdown, within this time: Docker kills after 10 seconds.
_GRACE_S = 5
# Work in threads goes on behind connections that are gone, for about as long as a query may take.
_WORK_S = 10
# In glibc's malloc.h.
_M_ARENA_MAX = -8


def serve(
    app: ASGIApp,
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM. Port 0 picks a free port; `on_ready` is called with the URL.

    Without `on_ready`, `listening on URL` is printed.
    """
    allow_more_connections()
    _share_free_memory()
    _limit_names(app, host)
    with _listening(host, port) as listener:
        _Server(app, _url(host, listener), on_ready or _print_ready).run(sockets=[listener])


@contextmanager
def serve_in_thread(app: ASGIApp, *, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """Serve while the block runs, which gets the URL."""
    answered = threading.Event()
    failures: list[BaseException] = []
    _limit_names(app, host)
    with _listening(host, port) as listener:
        url = _url(host, listener)
        server = _Server(app, url, lambda _: answered.set())

        def run() -> None:
            try:
                server.run(sockets=[listener])
            except BaseException as failure:
                if answered.is_set():
                    raise
                failures.append(failure)
            finally:
                answered.set()  # also if the server could not start

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            answered.wait()
            if failures:
                raise failures[0]
            yield url
        finally:
            server.should_exit = True
            thread.join()


class _Server(uvicorn.Server):
    def __init__(self, app: ASGIApp, url: str, on_ready: Callable[[str], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=connection_class(),
                lifespan="off",
                ws="none",  # not used, and importing its libraries warns in some versions
                log_level="warning",
                access_log=False,
                timeout_graceful_shutdown=_GRACE_S + _WORK_S,
            )
        )
        self._url = url
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready(self._url)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # uvicorn would cancel the requests of slow clients, and print a traceback of each.
        asyncio.get_running_loop().call_later(_GRACE_S, self._abort_connections)
        await super().shutdown(sockets)

    def _abort_connections(self) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        # uvicorn's own method raises the signal again in the end, so that the process seems to
        # fail. Only the main thread can have signal handlers.
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {
            number: signal.signal(number, self.handle_exit)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _share_free_memory() -> None:
    """Let threads share the memory that they have freed.

    glibc keeps it for each thread apart, eight times the processors of the machine: what requests
    take one after the other, in different threads, would add up.
    """
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)


def _limit_names(app: ASGIApp, host: str) -> None:
    """Answer only to names of this address, unless the application was made with others."""
    if isinstance(app, RequestGate):
        app.origins.listen_on(host)


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        raise OSError(error.errno, f"cannot listen on {host}:{port}: {error.strerror}") from error
    with listener:
        yield listener


def _url(host: str, listener: socket.socket) -> str:
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{listener.getsockname()[1]}"


def _print_ready(url: str) -> None:
    print(f"listening on {url}", flush=True)
