"""The HTTP client under a session: its timeouts, proxies and certificates."""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy

import anyio
import httpx

from aiowandb.concurrency.threads import run_sync
from aiowandb.config.settings import Settings


class HttpClient:
    """The HTTP client under a session. It is made at the first request, in a thread.

    httpx imports its engine and reads the certificates then, which takes 30 to 300 ms: the
    event loop must not stand still for so long.
    """

    def __init__(self, make: Callable[[], httpx.AsyncClient]) -> None:
        self._make = make
        self._client: httpx.AsyncClient | None = None
        self._is_closed = False
        self._making = anyio.Lock()

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        content: bytes | AsyncIterable[bytes] | None = None,
    ) -> AsyncIterator[httpx.Response]:
        """Send a request; what comes after the head of the response is read in the block."""
        client = await self._made()
        async with client.stream(method, url, headers=headers, content=content) as response:
            yield response

    async def aclose(self) -> None:
        self._is_closed = True
        if self._client:
            await self._client.aclose()

    async def _made(self) -> httpx.AsyncClient:
        async with self._making:
            if self._client is None:
                if self._is_closed:
                    raise RuntimeError("The HTTP client has been closed.")
                self._client = await run_sync(self._make)
        return self._client


def make_client(
    settings: Settings,
    *,
    auth: httpx.Auth,
    max_connections: int,
    transport: httpx.AsyncBaseTransport | None,
) -> httpx.AsyncClient:
    """A client as in the settings. A custom transport needs no proxy."""
    limits = httpx.Limits(max_connections=max_connections)
    proxies = {} if transport else settings.proxies
    verify = settings.verify if transport else verification(settings.verify)
    return httpx.AsyncClient(
        auth=auth,
        # Cookies are not needed, and those of one port would be sent to all ports of the host.
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        # What can be decompressed within bounds, see `bodies`.
        headers={"User-Agent": "aiowandb", "Accept-Encoding": "gzip"},
        timeout=httpx.Timeout(settings.http_timeout, connect=10.0, pool=None),
        limits=limits,
        verify=verify,
        transport=transport,
        mounts={
            scheme: httpx.AsyncHTTPTransport(proxy=proxy, verify=verify, limits=limits)
            for scheme, proxy in proxies.items()
        },
    )


def verification(verify: ssl.SSLContext | bool) -> ssl.SSLContext | bool:
    """What httpx is to verify with: it would read the usual authorities for each client anew."""
    if verify is not True:
        return verify
    return _usual_authorities(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


@cache
def _usual_authorities(*_environment: str | None) -> ssl.SSLContext:
    """The context that httpx makes from this environment, shared by all clients of the process.

    To read a few hundred certificates takes some 25 ms.
    """
    return httpx.create_ssl_context()
