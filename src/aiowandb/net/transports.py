"""The HTTP client under a session: timeouts, proxies, certificates, and what moves the bytes."""

from __future__ import annotations

import asyncio
import os
import re
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import cache
from importlib import import_module
from typing import Any

import anyio
import httpx

from aiowandb.concurrency.background import current_loop
from aiowandb.concurrency.threads import run_sync
from aiowandb.config.headers import PROXY_AUTHORIZATION
from aiowandb.config.settings import Settings
from aiowandb.net.proxies import environment_proxies
from aiowandb.redaction import Link

# The name of a certificate's file in a folder of OpenSSL.
_HASHED = re.compile(r"[0-9a-f]{8}\.\d")
_AIOHTTP = "aiowandb.net.aiohttp_transport"


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
        link: Link,
        *,
        headers: Mapping[str, str],
        content: bytes | AsyncIterable[bytes] | None = None,
    ) -> AsyncIterator[httpx.Response]:
        """Send a request; what comes after the head of the response is read in the block."""
        client = await self._made()
        request = client.stream(method, link.reveal(), headers=headers, content=content)
        async with request as response:
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
    mounts: dict[str, httpx.AsyncBaseTransport | None] = {}
    if transport is None:
        verify = verification(settings.verify)
        limits = httpx.Limits(max_connections=max_connections)
        proxies = environment_proxies() | dict(settings.proxies)
        transport = LoopTransport(verify, limits)
        mounts = {
            pattern: LoopTransport(verify, limits, _proxy(url, settings, verify)) if url else None
            for pattern, url in proxies.items()
        }
    return _ClientWithoutCookies(
        auth=auth,
        # What can be decompressed within bounds, see `bodies`.
        headers={"User-Agent": "aiowandb", "Accept-Encoding": "gzip"},
        timeout=httpx.Timeout(settings.http_timeout, connect=10.0, pool=None),
        transport=transport,
        mounts=mounts,
    )


def _proxy(url: str, settings: Settings, verify: ssl.SSLContext | bool) -> httpx.Proxy:
    """A proxy that is spoken to over TLS shows a certificate too."""
    authorization = settings.headers.get(PROXY_AUTHORIZATION)
    proxy = httpx.Proxy(
        url, headers={"Proxy-Authorization": authorization} if authorization else None
    )
    if proxy.url.scheme == "https":
        if not isinstance(verify, ssl.SSLContext):
            verify = httpx.create_ssl_context(verify=False)
        proxy.ssl_context = verify
    return proxy


class _NoCookies(httpx.Cookies):
    def extract_cookies(self, response: httpx.Response) -> None:
        pass


_NO_COOKIES = _NoCookies()


class _ClientWithoutCookies(httpx.AsyncClient):
    """Cookies are not needed, and those of one port would be sent to all ports of the host.

    A cookie jar that refuses them all would take a tenth of a millisecond for each response.
    """

    @property
    def cookies(self) -> httpx.Cookies:
        return _NO_COOKIES

    @cookies.setter
    def cookies(self, cookies: Any) -> None:  # noqa: ARG002 - as httpx has it
        raise AttributeError("This client has no cookies.")


class LoopTransport(httpx.AsyncBaseTransport):
    """aiohttp on asyncio, and on trio httpcore, which costs more and knows both event loops.

    Which loop it is shows at the first request. aiohttp cannot use SOCKS proxies.
    """

    def __init__(
        self, verify: ssl.SSLContext | bool, limits: httpx.Limits, proxy: httpx.Proxy | None = None
    ) -> None:
        self._verify = verify
        self._limits = limits
        self._proxy = proxy
        self._chosen: httpx.AsyncBaseTransport | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self._chosen is None:
            # It takes a quarter of a second to import either.
            await run_sync(import_module, _AIOHTTP if self._is_for_aiohttp else "httpcore")
        return await self._choose().handle_async_request(request)

    async def aclose(self) -> None:
        if self._chosen:
            await self._chosen.aclose()

    @property
    def _is_for_aiohttp(self) -> bool:
        is_socks = self._proxy is not None and self._proxy.url.scheme.startswith("socks")
        return isinstance(current_loop(), asyncio.AbstractEventLoop) and not is_socks

    def _choose(self) -> httpx.AsyncBaseTransport:
        if self._chosen:  # another request has, meanwhile
            return self._chosen
        verify, limits, proxy = self._verify, self._limits, self._proxy
        if not self._is_for_aiohttp:
            self._chosen = HttpcoreTransport(verify=verify, limits=limits, proxy=proxy)
            return self._chosen
        from aiowandb.net.aiohttp_transport import AiohttpTransport

        self._chosen = AiohttpTransport(verify=verify, limits=limits, proxy=proxy)
        return self._chosen


class HttpcoreTransport(httpx.AsyncHTTPTransport):
    """httpx's own, which would leave the socket open if it is cancelled in a TLS handshake, and
    take what a server sends behind a response for the response to the next request."""

    def __init__(
        self, *, verify: ssl.SSLContext | bool, limits: httpx.Limits, proxy: httpx.Proxy | None
    ) -> None:
        super().__init__(verify=verify, limits=limits, proxy=proxy)
        # There is no other way to it through httpx.
        pool: Any = self._pool
        pool._network_backend = _Sockets(pool._network_backend)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        stream = response.extensions.get("network_stream")
        if isinstance(stream, _Socket) and not stream.has_answered:
            with anyio.CancelScope(shield=True):
                await response.aclose()
            raise httpx.RemoteProtocolError(
                "the server sent a response before the request", request=request
            )
        return response


class _Sockets:
    """A network backend of httpcore with streams of ours."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend

    async def connect_tcp(self, *args: Any, **kwargs: Any) -> _Socket:
        return _Socket(await self._backend.connect_tcp(*args, **kwargs))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)


class _Socket:
    """A stream of httpcore that is closed when a handshake is cancelled.

    `has_answered` says whether anything was read since something was written.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.has_answered = False

    async def read(self, *args: Any, **kwargs: Any) -> bytes:
        data: bytes = await self._stream.read(*args, **kwargs)
        self.has_answered = True
        return data

    async def write(self, *args: Any, **kwargs: Any) -> None:
        self.has_answered = False
        await self._stream.write(*args, **kwargs)

    async def start_tls(self, *args: Any, **kwargs: Any) -> _Socket:
        try:
            return _Socket(await self._stream.start_tls(*args, **kwargs))
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._stream.aclose()
            raise

    def get_extra_info(self, info: str) -> Any:
        found = self._stream.get_extra_info(info)
        if info == "is_readable" and not found:  # asked of an idle connection before it is used
            return _has_record(self._stream.get_extra_info("ssl_object"))
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _has_record(tls: ssl.SSLObject | None) -> bool:
    """Whether anything encrypted has come along with what was read: sockets do not show that."""
    if tls is None:
        return False
    try:
        tls.read(1)
    except ssl.SSLWantReadError:
        return False
    except ssl.SSLError:  # the connection is of no use either
        return True
    return True


def verification(verify: ssl.SSLContext | bool) -> ssl.SSLContext | bool:
    """The SSL context: httpx would read the default certificates again for each client."""
    if verify is not True:
        return verify
    return _usual_authorities(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


@cache
def _usual_authorities(*environment: str | None) -> ssl.SSLContext:
    """The context that httpx makes from this environment, shared by all clients of the process.

    To read a few hundred certificates takes some 25 ms. httpx trusts the authorities of its own
    list. Those of the system are trusted too, as by W&B's own client: a company adds its own there.
    """
    context = httpx.create_ssl_context()
    if not any(environment):
        _add_authorities_of_system(context)
    return context


def _add_authorities_of_system(context: ssl.SSLContext) -> None:
    folder = ssl.get_default_verify_paths().capath
    if folder and any(_HASHED.fullmatch(name) for name in os.listdir(folder)):
        # OpenSSL looks there when it needs one; to read them all would take 80 ms.
        context.load_verify_locations(capath=folder)
    else:
        context.load_default_certs()
