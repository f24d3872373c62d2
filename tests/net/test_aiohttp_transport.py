"""aiohttp under httpx does what httpcore does: the same tests for both, against real sockets."""

from __future__ import annotations

import ssl
import traceback
from base64 import b64encode
from collections.abc import AsyncIterator

import anyio
import h11
import httpx
import pytest
import trustme
from anyio.abc import SocketStream
from anyio.streams.tls import TLSStream

from tests.net.conftest import Open
from tests.support.raw_http import OK, answers, never, serving

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", httpx.RemoteProtocolError),
        (b"SSH-2.0-OpenSSH_9.6\r\n", httpx.RemoteProtocolError),
        (OK + b"Content-Length: 5\r\n\r\nabc", httpx.RemoteProtocolError),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", httpx.RemoteProtocolError),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nabc\r\n", httpx.RemoteProtocolError),
        (OK + b"X: " + b"x" * 200_000 + b"\r\n\r\n", httpx.RemoteProtocolError),
        (OK + b"X: x\r\n" * 100_000 + b"\r\n", httpx.RemoteProtocolError),
    ],
    ids=["nothing", "not HTTP", "cut", "cut chunks", "no chunks", "long header", "many headers"],
)
async def test_an_invalid_response_is_a_protocol_error(
    open_transport: Open, data: bytes, error: type[Exception]
) -> None:
    async with serving(answers(data)) as url, httpx.AsyncClient(transport=open_transport()) as http:
        with pytest.raises(error):
            await http.get(url)


async def test_the_words_behind_a_status_may_be_of_any_encoding(open_transport: Open) -> None:
    data = b"HTTP/1.1 200 \xff\xfe\xc3\xa9\r\nContent-Length: 0\r\n\r\n"
    async with serving(answers(data)) as url, httpx.AsyncClient(transport=open_transport()) as http:
        response = await http.get(url)
    assert response.status_code == 200
    assert isinstance(response.reason_phrase, str)


async def test_a_request_whose_connection_broke_is_not_sent_again(open_transport: Open) -> None:
    seen: list[bytes] = []
    async with (
        serving(answers(b"", seen)) as url,
        httpx.AsyncClient(transport=open_transport()) as http,
    ):
        with pytest.raises(httpx.RemoteProtocolError):
            await http.get(url)
    assert len(seen) == 1


async def test_rows_that_arrived_before_a_connection_broke_are_returned(
    open_transport: Open,
) -> None:
    async with (
        serving(answers(OK + b"Content-Length: 9\r\n\r\nabc")) as url,
        httpx.AsyncClient(transport=open_transport()) as http,
        http.stream("GET", url) as response,
    ):
        await anyio.sleep(0.05)  # the end of the connection is known before anybody reads
        found = b""
        with pytest.raises(httpx.RemoteProtocolError):
            async for part in response.aiter_raw():
                found += part
    assert found == b"abc"


async def test_a_refused_connection_is_a_connect_error(open_transport: Open) -> None:
    async with serving(never) as url:
        pass
    async with httpx.AsyncClient(transport=open_transport()) as http:
        with pytest.raises(httpx.ConnectError):
            await http.get(url)


async def test_a_handshake_that_does_not_end_is_a_timeout_of_connecting(
    open_transport: Open,
) -> None:
    timeout = httpx.Timeout(60, connect=0.05)
    async with (
        serving(never) as url,
        httpx.AsyncClient(
            transport=open_transport(ssl.create_default_context()), timeout=timeout
        ) as http,
    ):
        with pytest.raises(httpx.ConnectTimeout):
            await http.get(url.replace("http:", "https:"))


@pytest.mark.parametrize("data", [b"", OK[:9], OK + b"Content-Length: 9\r\n\r\nabc"])
async def test_silence_is_a_timeout_of_reading(open_transport: Open, data: bytes) -> None:
    async def answer(stream: SocketStream) -> None:
        await stream.receive()
        await stream.send(data or b"")
        await anyio.sleep_forever()

    timeout = httpx.Timeout(60, read=0.05)
    async with (
        serving(answer) as url,
        httpx.AsyncClient(transport=open_transport(), timeout=timeout) as http,
    ):
        with pytest.raises(httpx.ReadTimeout):
            await http.get(url)


@pytest.mark.parametrize("is_stream", [True, False])
async def test_a_server_that_takes_nothing_is_a_timeout_of_writing(
    open_transport: Open, is_stream: bool
) -> None:
    async def deaf(stream: SocketStream) -> None:
        await stream.receive()  # anyio reads ahead until then
        await anyio.sleep_forever()

    async def parts() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield bytes(1 << 20)

    timeout = httpx.Timeout(60, write=0.05)
    async with (
        serving(deaf) as url,
        httpx.AsyncClient(transport=open_transport(), timeout=timeout) as http,
    ):
        with pytest.raises(httpx.WriteTimeout):
            await http.put(url, content=parts() if is_stream else bytes(64 << 20))


async def test_to_wait_for_a_connection_has_a_timeout_of_its_own(open_transport: Open) -> None:
    timeout = httpx.Timeout(60, pool=0.05)
    async with (
        serving(answers(OK + b"Content-Length: 3\r\n\r\nabc")) as url,
        httpx.AsyncClient(transport=open_transport(connections=1), timeout=timeout) as http,
    ):
        async with http.stream("GET", url):
            with pytest.raises(httpx.PoolTimeout):
                await http.get(url)
        assert (await http.get(url)).content == b"abc"


async def test_an_upload_arrives_as_announced(open_transport: Open) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"abc"

    async def answer(stream: SocketStream) -> None:
        seen = b""
        while not seen.endswith(b"\r\n\r\nabcabcabc"):
            seen += await stream.receive()
        heads.append(seen.partition(b"\r\n\r\n")[0].lower())
        await stream.send(OK + b"Content-Length: 0\r\n\r\n")

    heads: list[bytes] = []
    async with serving(answer) as url, httpx.AsyncClient(transport=open_transport()) as http:
        headers = {"Content-Length": "9", "x-mine": "yes"}
        assert (await http.put(url, content=parts(), headers=headers)).status_code == 200
    (head,) = heads
    assert b"content-length: 9" in head
    assert b"x-mine: yes" in head
    assert b"transfer-encoding" not in head
    assert b"content-type" not in head


@pytest.mark.parametrize("length", ["2", "9"])
async def test_an_upload_of_another_size_than_announced_is_an_error(
    open_transport: Open, length: str
) -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield b"abc"

    async with serving(never) as url, httpx.AsyncClient(transport=open_transport()) as http:
        # httpcore lets that of h11 through.
        with pytest.raises((httpx.LocalProtocolError, h11.LocalProtocolError), match="data for"):
            await http.put(url, content=parts(), headers={"Content-Length": length})


async def test_errors_while_reading_an_upload_are_raised(open_transport: Open) -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield b"abc"
        raise KeyError("the file")

    async with serving(never) as url, httpx.AsyncClient(transport=open_transport()) as http:
        with pytest.raises(KeyError, match="the file"):
            await http.put(url, content=parts())


async def test_urls_are_sent_as_they_are_and_without_credentials(open_transport: Open) -> None:
    seen: list[bytes] = []
    path = "/a%2Fb/c%20d/%7Ee?sig=a%2Bb%3D&x=%41+b&y=(1)"
    async with (
        serving(answers(OK + b"Content-Length: 0\r\n\r\n", seen)) as url,
        httpx.AsyncClient(transport=open_transport(), auth=lambda request: request) as http,
    ):
        await http.get(url.replace("://", "://user:secret@") + path)
    assert seen[0].startswith(f"GET {path} HTTP/1.1\r\n".encode())
    assert b"authorization" not in seen[0].lower()


async def test_neither_redirects_nor_cookies_are_followed(open_transport: Open) -> None:
    seen: list[bytes] = []
    redirect = b"HTTP/1.1 302 Found\r\nLocation: /b\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n"
    async with serving(answers(redirect, seen)) as url:
        transport = open_transport()
        async with transport:
            for _ in range(2):
                response = await transport.handle_async_request(httpx.Request("GET", url))
                await response.aclose()
                assert response.status_code == 302
    assert len(seen) == 2
    assert b"cookie" not in b"".join(seen).lower()


async def test_bodies_are_given_as_they_were_sent(open_transport: Open) -> None:
    data = OK + b"Content-Encoding: gzip\r\nContent-Length: 3\r\nX-A: 1\r\nX-A: 2\r\n\r\nabc"
    async with (
        serving(answers(data)) as url,
        httpx.AsyncClient(transport=open_transport()) as http,
        http.stream("GET", url) as response,
    ):
        assert response.headers.get_list("x-a") == ["1", "2"]
        assert response.http_version == "HTTP/1.1"
        assert response.reason_phrase == "OK"
        assert [part async for part in response.aiter_raw()] == [b"abc"]


@pytest.mark.parametrize("when", ["waiting", "reading"])
async def test_a_request_that_is_cancelled_frees_its_connection(
    open_transport: Open, when: str
) -> None:
    authority = trustme.CA()
    server_tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server_tls)
    client_tls = ssl.create_default_context()
    authority.configure_trust(client_tls)
    is_waiting = anyio.Event()
    ended = anyio.Event()

    async def answer(stream: SocketStream) -> None:
        secure = await TLSStream.wrap(
            stream, server_side=True, ssl_context=server_tls, standard_compatible=False
        )
        await secure.receive()
        if when == "reading":
            await secure.send(OK + b"Content-Length: 9\r\n\r\nabc")
        is_waiting.set()
        try:
            await secure.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            ended.set()

    async with (
        serving(answer) as url,
        httpx.AsyncClient(transport=open_transport(client_tls, 1), timeout=60) as http,
        anyio.create_task_group() as tasks,
    ):
        with anyio.fail_after(60):
            tasks.start_soon(http.get, url.replace("http:", "https:"))
            await is_waiting.wait()
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                await ended.wait()


@pytest.mark.parametrize("data", [b"", b"SSH-2.0-OpenSSH_9.6\r\n", None])
async def test_no_variable_of_a_traceback_has_the_credentials(
    open_transport: Open, data: bytes | None
) -> None:
    secret = "0123456789" * 4
    async with serving(answers(data or b"")) as url:
        where = url if data is not None else "http://127.0.0.1:9"
        async with httpx.AsyncClient(transport=open_transport(), auth=("api", secret)) as http:
            with pytest.raises(httpx.TransportError) as caught:
                await http.post(where, content=b"{}")
    # As those who report errors do, in the frames that lead to the socket.
    shown = "".join(
        traceback.TracebackException.from_exception(caught.value, capture_locals=True).format()
    )
    assert b64encode(f"api:{secret}".encode()).decode() not in shown
