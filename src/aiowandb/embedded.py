"""Starts the embedded W&B. No other module of the client imports `aiowandb_server`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import httpx

from aiowandb.choices import HistoryMode
from aiowandb.concurrency.threads import run_sync
from aiowandb.errors import StoreError, UsageError, extra_needed

if TYPE_CHECKING:
    from aiowandb_server import Store

LOCAL_ENTITY = "local"
IN_PROCESS_URL = "http://wandb.in-process"


@contextmanager
def open_store(path: str | Path) -> Iterator[Store]:
    """The data store of the embedded W&B in this folder, created on first use."""
    with extra_needed("local", "The embedded W&B"):
        import aiowandb_server
    try:
        store = aiowandb_server.Store.open(path)
    except aiowandb_server.DataFolderError as error:
        raise StoreError(str(error)) from error
    with store:
        yield store


class EmbeddedTransport(httpx.AsyncBaseTransport):
    """The embedded W&B in this process, with its data in `folder`.

    The first request opens it in a thread, because importing the server takes a while.
    """

    def __init__(self, path: str | Path, key: str) -> None:
        self.folder = Path(path)
        self._key = key
        self._app: httpx.ASGITransport | None = None
        self._opening = anyio.Lock()
        self._store = ExitStack()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        async with self._opening:
            if self._app is None:
                self._app = await run_sync(self._open)
        return await self._app.handle_async_request(request)

    def _open(self) -> httpx.ASGITransport:
        store = self._store.enter_context(open_store(self.folder))
        from aiowandb_server import create_app

        return httpx.ASGITransport(create_app(store, keys=[self._key], pages=False))

    async def aclose(self) -> None:
        self._store.close()


def build_sample(path: Path) -> str:
    """Create the sample project in this folder, unless it exists, and return its path."""
    with open_store(path) as store:
        from aiowandb_server import build_sample

        sample = build_sample(store)
        return f"{sample.entity}/{sample.project}"


def login_link(path: Path, page: str, base_url: str | None = None) -> str:
    """A link to a page of the embedded W&B in this folder, which logs in the browser.

    `base_url` is the URL of its server, by default the one that the server has announced.
    """
    with open_store(path) as store:
        from aiowandb_server import LoginLinks

        links = LoginLinks(store.folder, store.clock)
        address = base_url or links.address()
        if address is None:
            raise UsageError(
                f"No server is running for {path}. Start it with: aiowandb serve --data {path}"
            )
        return links.create(address, page)


def serve(
    path: Path,
    *,
    host: str,
    port: int,
    on_ready: Callable[[str, str | None], None],
    keys: Sequence[str] = (),
    open_access: bool = False,
    history: HistoryMode = "parquet",
    rate_limit: float | None = None,
    latency: float = 0.0,
    max_memory: int = 1 << 30,
    allowed_hosts: Sequence[str] = (),
    pages: bool = True,
) -> None:
    """Serve the embedded W&B of this folder until SIGINT or SIGTERM.

    `on_ready` is called with the URL, and the login link unless the pages are left out.
    `max_memory` bounds what all requests together take, in bytes.
    """
    with open_store(path) as store:
        import aiowandb_server

        if open_access and not aiowandb_server.is_loopback(host):
            raise UsageError("--open accepts any key, so --host must be a loopback address.")
        app = aiowandb_server.create_app(
            store,
            keys=keys,
            open_access=open_access,
            history=history,
            rate_limit=rate_limit,
            latency=latency,
            max_memory=max_memory,
            allowed_hosts=[host, *allowed_hosts],
            pages=pages,
        )
        links = aiowandb_server.LoginLinks(store.folder, store.clock)
        address = ""

        def announce(url: str) -> None:
            nonlocal address
            if pages:
                address = url
                links.announce(url)
            on_ready(url, links.create(url) if pages else None)

        try:
            aiowandb_server.serve(app, host=host, port=port, on_ready=announce)
        except OSError as error:
            raise UsageError(error.strerror or str(error)) from error
        finally:
            links.withdraw(address)
