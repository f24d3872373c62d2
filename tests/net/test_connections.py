"""Connections that are used again, that have died meanwhile, and that break in the middle."""

from __future__ import annotations

import io
import re
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress

import anyio
import httpx
import pytest
import trustme
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.tls import TLSStream

from aiowandb import CommError
from aiowandb.config.settings import Settings
from aiowandb.net import Session
from aiowandb.net.retry import RetryPolicy
from aiowandb.net.transports import LoopTransport
from aiowandb.redaction import Link
from tests.net.conftest import Open
from tests.support.raw_http import OK, answers, receive_request, serving

pytestmark = pytest.mark.anyio
EMPTY = OK + b"Content-Length: 0\r\n\r\n"


# There the two transports are compared; the session chooses one for each event loop.
on_asyncio = pytest.mark.parametrize("anyio_backend", ["asyncio"])


def has_ipv6() -> bool:
    with suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):
        return True
    return False


@on_asyncio
async def test_a_connection_is_used_again(open_transport: Open) -> None:
    connections = 0

    async def answer(stream: SocketStream) -> None:
        nonlocal connections
        connections += 1
        while True:
            await receive_request(stream)
            await stream.send(EMPTY)

    async with serving(answer) as url, httpx.AsyncClient(transport=open_transport()) as http:
        for _ in range(3):
            assert (await http.get(url)).status_code == 200
        await http.aclose()
    assert connections == 1


@on_asyncio
async def test_an_idle_connection_that_the_server_has_closed_is_left_alone(
    open_transport: Open,
) -> None:
    """Servers close what is idle for long: that is no failure, nor a reason to send twice."""
    closed = anyio.Semaphore(0)
    seen = 0

    async def answer(stream: SocketStream) -> None:
        nonlocal seen
        await receive_request(stream)
        seen += 1
        await stream.send(EMPTY)
        await stream.aclose()
        closed.release()

    async with serving(answer) as url, httpx.AsyncClient(transport=open_transport()) as http:
        for _ in range(5):
            assert (await http.post(url)).status_code == 200
            await closed.acquire()
    assert seen == 5


@on_asyncio
async def test_a_request_on_a_connection_that_dies_of_it_is_for_others_to_send_again(
    open_transport: Open,
) -> None:
    """Whether the server has handled it is unknown; only the caller knows if it may be repeated."""
    seen = 0

    async def answer(stream: SocketStream) -> None:
        nonlocal seen
        await receive_request(stream)
        seen += 1
        await stream.send(EMPTY)
        await receive_request(stream)
        seen += 1

    async with serving(answer) as url, httpx.AsyncClient(transport=open_transport()) as http:
        assert (await http.post(url)).status_code == 200
        with pytest.raises(httpx.TransportError):
            await http.post(url)
    assert seen == 2


@on_asyncio
@pytest.mark.parametrize("behind", [OK + b"Content-Length: 1\r\n\r\n?", OK], ids=range(2))
async def test_a_second_response_is_not_taken_for_that_to_the_next_request(
    open_transport: Open, behind: bytes
) -> None:
    """Else each request would have the response to the one before it, from then on."""
    numbers = iter(range(100))

    async def answer(stream: SocketStream) -> None:
        with suppress(anyio.EndOfStream):
            while True:
                await receive_request(stream)
                body = b"%02d" % next(numbers)
                await stream.send(OK + b"Content-Length: 2\r\n\r\n" + body + behind)

    seen = []
    async with serving(answer) as url, httpx.AsyncClient(transport=open_transport()) as http:
        for _ in range(6):
            with suppress(httpx.RemoteProtocolError):
                seen.append((await http.get(url)).text)
    assert len(seen) >= 3
    assert seen == sorted({*seen} - {"?"})


@on_asyncio
async def test_what_comes_on_an_idle_connection_is_not_the_response_to_the_next_request(
    open_transport: Open,
) -> None:
    was_read, was_sent = anyio.Semaphore(0), anyio.Semaphore(0)

    async def answer(stream: SocketStream) -> None:
        await receive_request(stream)
        await stream.send(OK + b"Content-Length: 2\r\n\r\nok")
        await was_read.acquire()
        await stream.send(OK + b"Content-Length: 5\r\n\r\nother")
        was_sent.release()
        with suppress(anyio.EndOfStream):
            await stream.receive()

    async with serving(answer) as url, httpx.AsyncClient(transport=open_transport()) as http:
        for _ in range(3):
            with suppress(httpx.RemoteProtocolError):
                assert (await http.get(url)).text == "ok"
                was_read.release()
                await was_sent.acquire()


@pytest.mark.skipif(not hasattr(socket, "TCP_CORK"), reason="packets cannot be held back here")
async def test_nor_is_what_was_encrypted_apart_and_comes_along_with_a_response() -> None:
    authority = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    async def answer(stream: SocketStream) -> None:
        raw = stream.extra(SocketAttribute.raw_socket)
        encrypted = await TLSStream.wrap(
            stream, server_side=True, ssl_context=tls, standard_compatible=False
        )
        await receive_request(encrypted)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        await encrypted.send(OK + b"Content-Length: 2\r\n\r\nok")
        await encrypted.send(OK + b"Content-Length: 5\r\n\r\nother")
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
        with suppress(anyio.EndOfStream):
            await encrypted.receive()

    transport = LoopTransport(trusting, httpx.Limits())
    async with serving(answer) as url, httpx.AsyncClient(transport=transport) as http:
        for _ in range(3):
            assert (await http.get(url.replace("http", "https"))).text == "ok"


@on_asyncio
@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
async def test_addresses_of_ipv6_can_be_reached(open_transport: Open) -> None:
    seen: list[bytes] = []
    async with (
        serving(answers(EMPTY, seen), "::1") as url,
        httpx.AsyncClient(transport=open_transport()) as http,
    ):
        assert (await http.get(url)).status_code == 200
        assert f"Host: {url.removeprefix('http://')}\r\n".encode() in seen[0]


# httpcore leaves what it sends to the garbage collector when the connection breaks.
@pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")
async def test_an_upload_that_is_confirmed_before_it_was_sent_has_failed() -> None:
    """As by a proxy that has lost its server: nobody has the file."""
    size = 64 << 20

    async def content() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield bytes(size // 64)

    async with serving(answers(EMPTY)) as url:
        settings = Settings.load(api_key="k" * 40, base_url=url, environ={})
        retry = RetryPolicy(random=lambda: 0.0, max_failures=1)
        async with Session(settings, retry=retry) as session:
            with pytest.raises(CommError, match="the connection broke"):
                await session.upload(Link(f"{url}/file"), content, size, {})


async def test_a_download_resumes_at_the_byte_where_its_connection_broke() -> None:
    content = bytes(range(256)) * 4000
    ranges: list[int] = []

    async def answer(stream: SocketStream) -> None:
        found = re.search(rb"range: bytes=(\d+)-", (await receive_request(stream)).lower())
        first = int(found[1]) if found else 0
        ranges.append(first)
        head = OK
        if found:
            head = b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes %d-%d/%d\r\n" % (
                first,
                len(content) - 1,
                len(content),
            )
        rest = content[first:]
        await stream.send(head + b'ETag: "1"\r\nContent-Length: %d\r\n\r\n' % len(rest))
        await stream.send(rest[:300_000])

    file = io.BytesIO()
    async with serving(answer) as url:
        settings = Settings.load(api_key="k" * 40, base_url=url, environ={})
        async with Session(settings, retry=RetryPolicy(random=lambda: 0.0)) as session:
            await session.download(Link(f"{url}/file"), file)
    assert file.getvalue() == content
    assert ranges == [0, 300_000, 600_000, 900_000]
