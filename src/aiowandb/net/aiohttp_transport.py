"""A transport of httpx that uses aiohttp, which takes less CPU time than httpcore; asyncio only.

httpx still handles redirects, cookies, credentials, proxies and decompression. Timeouts and
exceptions are those of httpx, because retries depend on them.
"""

from __future__ import annotations

import asyncio
import math
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import aiohttp
import anyio
import anyio.lowlevel
import httpx
from aiohttp.client_middlewares import ClientHandlerType
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import HttpProcessingError
from yarl import URL

from aiowandb.redaction import without_frames

# Links with long signatures come in the header of a redirect. Servers accept 8 or 16 K.
_MAX_HEADER = 1 << 14
# How much of a body may be in memory before it is read.
_MAX_WAITING = 1 << 17
# The kernel accepts smaller bodies at once, so there is nothing to wait for.
_SMALL = 1 << 16
_NOT_OURS_TO_ADD = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
# The first match is used.
_EXCEPTIONS: tuple[tuple[type[Exception], type[httpx.TransportError]], ...] = (
    (aiohttp.ConnectionTimeoutError, httpx.ConnectTimeout),
    (aiohttp.ServerTimeoutError, httpx.ReadTimeout),
    (aiohttp.ClientHttpProxyError, httpx.ProxyError),
    (aiohttp.ServerDisconnectedError, httpx.RemoteProtocolError),
    (aiohttp.ClientPayloadError, httpx.RemoteProtocolError),
    (aiohttp.ClientResponseError, httpx.RemoteProtocolError),
    (HttpProcessingError, httpx.RemoteProtocolError),
    (aiohttp.InvalidURL, httpx.UnsupportedProtocol),
    (aiohttp.ClientError, httpx.ReadError),
)


class _SilentConnection(ResponseHandler):
    """A connection that is not used again if the server has sent anything since its last response.

    aiohttp would take that for the response to the next request.
    """

    def is_connected(self) -> bool:
        return super().is_connected() and not self.should_close


class AiohttpTransport(httpx.AsyncBaseTransport):
    """Sends the requests of an httpx client with aiohttp. Create it in the event loop."""

    def __init__(
        self,
        *,
        verify: ssl.SSLContext | bool,
        limits: httpx.Limits,
        proxy: httpx.Proxy | None = None,
    ) -> None:
        if isinstance(verify, ssl.SSLContext):
            verify.set_alpn_protocols(["http/1.1"])
        self._places = anyio.Semaphore(limits.max_connections or 1 << 30)
        self._proxy = str(proxy.url) if proxy else None
        self._proxy_headers = _proxy_headers(proxy)
        connector: Any = aiohttp.TCPConnector(
            limit=0,  # counted here, because httpx has its own timeout for that
            keepalive_timeout=limits.keepalive_expiry or 0.0,
            ssl=verify,
        )
        connector._factory = partial(_SilentConnection, loop=asyncio.get_running_loop())
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=_NOT_OURS_TO_ADD,
            middlewares=(_send_once,),
            read_bufsize=_MAX_WAITING // 2,
            max_line_size=_MAX_HEADER,
            max_field_size=_MAX_HEADER,
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        seconds = request.extensions.get("timeout", {}).get("pool")
        with anyio.move_on_after(seconds) as waiting:
            await self._places.acquire()
        if waiting.cancelled_caught:
            raise httpx.PoolTimeout("all connections are in use")
        try:
            # aiohttp learns that the server has closed an idle connection from the event loop,
            # which looks after its sockets now: this is the second checkpoint.
            await anyio.lowlevel.checkpoint()
            response = await self._send(request)
        except BaseException as error:
            self._places.release()
            # The variables of aiohttp's frames contain the credentials.
            raise without_frames(error) from error.__cause__
        version = response.version or aiohttp.HttpVersion11
        return httpx.Response(
            response.status,
            headers=response.raw_headers,
            stream=_Body(response, self._places.release),
            extensions={
                "http_version": f"HTTP/{version.major}.{version.minor}".encode(),
                "reason_phrase": (response.reason or "").encode(errors="surrogateescape"),
            },
        )

    async def aclose(self) -> None:
        await self._session.close()

    async def _send(self, request: httpx.Request) -> aiohttp.ClientResponse:
        url = request.url
        timeout = request.extensions.get("timeout", {})
        encoding = request.headers.encoding
        headers = [
            (name.decode("ascii"), value.decode(encoding))
            for name, value in request.headers.raw
            if name.lower() != b"transfer-encoding"  # aiohttp adds it if the length is not known
        ]
        if url.scheme == "http":  # the proxy gets the request itself
            headers += self._proxy_headers.items()
        address = _address(url)
        with anyio.CancelScope() as writing:
            upload = _Upload(request, writing, timeout.get("write"))
            try:
                with _exceptions_of_httpx():
                    return await self._session.request(
                        request.method,
                        address,
                        headers=headers,
                        data=upload.data,
                        allow_redirects=False,
                        timeout=aiohttp.ClientTimeout(
                            total=None,
                            connect=timeout.get("connect"),
                            sock_read=timeout.get("read"),
                        ),
                        server_hostname=request.extensions.get("sni_hostname"),
                        proxy=self._proxy,
                        proxy_headers=self._proxy_headers or None,
                    )
            except httpx.TransportError:
                if upload.failure:
                    raise upload.failure from None
                raise
        raise httpx.WriteTimeout("the server accepts no more data")


def _address(url: httpx.URL) -> URL:
    """The URL for aiohttp, without credentials, which httpx handles."""
    text = f"{url.scheme}://{url.netloc.decode()}{url.raw_path.decode()}"
    try:
        # Already encoded: encoding it again would break signatures.
        return URL(text, encoded=True)
    except ValueError as error:  # it is stricter than httpx
        raise httpx.InvalidURL(str(error)) from error


class _Upload:
    """The body of a request. If it is a stream, the server has to accept each part in time."""

    def __init__(
        self, request: httpx.Request, writing: anyio.CancelScope, seconds: float | None
    ) -> None:
        # The error of the stream: aiohttp reports a broken connection instead.
        self.failure: Exception | None = None
        self._stream = cast(httpx.AsyncByteStream, request.stream)
        self._writing = writing
        self._seconds = math.inf if seconds is None else seconds
        length = request.headers.get("Content-Length")
        self._length = None if length is None else int(length)
        is_small = isinstance(self._stream, httpx.ByteStream) and len(request.content) <= _SMALL
        self.data = (request.content or None) if is_small else self._parts()

    async def _parts(self) -> AsyncIterator[bytes]:
        sent = 0
        try:
            async for part in self._stream:
                sent += len(part)
                if self._length is not None and sent > self._length:
                    raise httpx.LocalProtocolError("Too much data for declared Content-Length")
                self._writing.deadline = anyio.current_time() + self._seconds
                yield part
                self._writing.deadline = math.inf
            if self._length is not None and sent < self._length:
                raise httpx.LocalProtocolError("Too little data for declared Content-Length")
        except Exception as error:
            self.failure = error
            raise


class _Body(httpx.AsyncByteStream):
    """The body of a response as it was sent."""

    def __init__(self, response: aiohttp.ClientResponse, at_end: Callable[[], object]) -> None:
        self._response = response
        self._at_end = at_end
        self._is_closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        content = self._response.content
        with _exceptions_of_httpx():
            try:
                while part := await content.readany():
                    yield part
            except (aiohttp.ClientError, HttpProcessingError):
                if part := _received(content):
                    yield part
                raise

    async def aclose(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        connection = self._response.connection
        if connection and connection.transport:  # the body was not read to its end
            connection.transport.abort()
        self._response.close()
        self._at_end()


def _received(content: aiohttp.StreamReader) -> bytes:
    """The data that arrived before the connection broke, which need not be sent again."""
    content.set_exception(None)  # type: ignore[arg-type]
    return content.read_nowait()


async def _send_once(
    request: aiohttp.ClientRequest, handler: ClientHandlerType
) -> aiohttp.ClientResponse:
    """Send without aiohttp's own retry after a broken connection, which ours could not see."""
    with _exceptions_of_httpx():
        return await handler(request)


@contextmanager
def _exceptions_of_httpx() -> Iterator[None]:
    try:
        yield
    except aiohttp.ClientConnectorError as error:
        # The error of the socket; aiohttp's error repeats the settings of the connection.
        raise httpx.ConnectError(str(error.os_error)) from error.os_error
    except (aiohttp.ClientError, HttpProcessingError) as error:
        exception = next(ours for theirs, ours in _EXCEPTIONS if isinstance(error, theirs))
        raise exception(str(error) or type(error).__name__) from error


def _proxy_headers(proxy: httpx.Proxy | None) -> dict[str, str]:
    if proxy is None:
        return {}
    headers = dict(proxy.headers)
    if proxy.raw_auth is not None:
        credentials = b64encode(b":".join(proxy.raw_auth)).decode()
        headers["Proxy-Authorization"] = f"Basic {credentials}"
    return headers
