"""Files arrive complete, however often the connection breaks, and never larger than allowed."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from aiowandb import CommError, ContentError, LinkError, ServerError, TooLargeError
from aiowandb.config.settings import Settings
from aiowandb.net import Session, bodies
from aiowandb.net.retry import RetryPolicy
from aiowandb.redaction import Link
from tests.support.answering import ASK
from tests.support.raw_http import never, serving

pytestmark = pytest.mark.anyio
KEY = "s3cret" * 7
URL = "http://files.test/x?Signature=abc"
CONTENT = random.Random(1).randbytes(1_000_000)
MD5 = base64.b64encode(hashlib.md5(CONTENT).digest()).decode()
AT_ONCE = RetryPolicy(random=lambda: 0.0)


class Cut(httpx.AsyncByteStream):
    """Bytes that break off."""

    def __init__(self, content: bytes, after: int | None) -> None:
        self.content = content
        self.after = after

    async def __aiter__(self) -> Any:
        yield self.content[: self.after]
        if self.after is not None:
            raise httpx.ReadError("connection reset")


class Store(httpx.AsyncBaseTransport):
    """An object store that cuts its answers after the sizes of a list; then it works."""

    def __init__(self, *cuts: int, ranges: bool = True, etag: str | None = '"v1"') -> None:
        self.cuts = list(cuts)
        self.ranges = ranges
        self.etag = etag
        self.content = CONTENT
        self.headers: dict[str, str] = {}
        self.requests: list[httpx.Request] = []
        self.on_cut: Callable[[], None] = lambda: None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        content, status = self.content, 200
        headers = self.headers | ({"ETag": self.etag} if self.etag else {})
        if self.ranges and self._wants_rest(request):
            first = int(request.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            status, content = 206, content[first:]
            last, size = len(self.content) - 1, len(self.content)
            headers["Content-Range"] = f"bytes {first}-{last}/{size}"
        after = self.cuts.pop(0) if self.cuts else None
        headers["Content-Length"] = str(len(content))
        if after is not None:
            self.on_cut()
        return httpx.Response(status, headers=headers, stream=Cut(content, after))

    def _wants_rest(self, request: httpx.Request) -> bool:
        return "Range" in request.headers and (
            request.headers.get("If-Range", self.etag) == self.etag
        )

    @property
    def ranges_asked(self) -> list[str | None]:
        return [request.headers.get("Range") for request in self.requests]


def session(transport: httpx.AsyncBaseTransport, **settings: Any) -> Session:
    loaded = Settings.load(api_key=KEY, base_url="http://wandb.test", **settings, environ={})
    return Session(loaded, transport=transport, retry=AT_ONCE)


async def download(transport: httpx.AsyncBaseTransport, **limits: Any) -> bytes:
    file = io.BytesIO(b"what was here before" * 100_000)
    async with session(transport) as asking:
        await asking.download(Link(URL), file, **limits)
    return file.getvalue()


async def test_an_interrupted_download_resumes_where_it_was() -> None:
    store = Store(400_000, 1, 300_000)
    assert await download(store) == CONTENT
    assert store.ranges_asked == [None, "bytes=400000-", "bytes=400001-", "bytes=700001-"]


async def test_without_a_strong_etag_the_length_has_to_do() -> None:
    store = Store(400_000, etag='W/"v1"')
    assert await download(store) == CONTENT
    assert store.ranges_asked == [None, "bytes=400000-"]


async def test_a_server_that_cannot_continue_is_asked_for_everything() -> None:
    store = Store(400_000, ranges=False)
    assert await download(store) == CONTENT


async def test_a_file_that_was_replaced_meanwhile_is_fetched_again() -> None:
    store = Store(400_000)

    def replace() -> None:
        store.etag, store.content = '"v2"', CONTENT[::-1]

    store.on_cut = replace
    assert await download(store) == CONTENT[::-1]


async def test_a_rest_of_something_else_is_not_taken() -> None:
    store = Store(400_000, etag=None)

    def replace() -> None:
        store.content = CONTENT[::-1] + b"longer"

    store.on_cut = replace
    assert await download(store) == CONTENT[::-1] + b"longer"
    assert store.ranges_asked == [None, "bytes=400000-", None]


async def test_a_download_without_progress_fails() -> None:
    store = Store(*[300_000] * 1000, ranges=False)
    with pytest.raises(CommError, match=r"Download of http://files.test/x: the connection broke"):
        await download(store)
    assert len(store.requests) < 50


async def test_a_file_is_refused_once_it_is_known_to_be_too_large() -> None:
    with pytest.raises(ServerError, match="1,000,000 bytes, more than the allowed 999,999"):
        await download(Store(), max_bytes=999_999)
    assert await download(Store(), max_bytes=1_000_000) == CONTENT


@pytest.mark.parametrize(
    "headers",
    [{"Content-MD5": MD5}, {"x-goog-hash": f"crc32c=AAAAAA==,md5={MD5}"}],
    ids=["Content-MD5", "x-goog-hash"],
)
async def test_a_checksum_that_comes_along_is_checked_over_all_pieces(
    headers: dict[str, str],
) -> None:
    store = Store(400_000)
    store.headers = headers

    def heal() -> None:
        store.content = CONTENT

    store.content, store.on_cut = b"wrong" + CONTENT[5:], heal
    assert await download(store) == CONTENT
    # The rest was right, the whole was not.
    assert store.ranges_asked == [None, "bytes=400000-", None]


class Fixed(httpx.AsyncBaseTransport):
    """Answers each URL with what a table says."""

    def __init__(self, **answers: httpx.Response) -> None:
        self.answers = answers
        self.requests: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self.answers[request.url.path.strip("/")]


def pieces_of(content: bytes) -> Callable[[], AsyncIterator[bytes]]:
    async def pieces() -> AsyncIterator[bytes]:
        yield content

    return pieces


def answer(content: bytes, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(200, headers=named, stream=Cut(content, None))


async def test_a_file_that_unpacks_to_too_much_is_an_error_before_it_is_unpacked() -> None:
    bomb = gzip.compress(bytes(50_000_000))
    file = io.BytesIO()
    async with session(Fixed(x=answer(bomb, Content_Encoding="gzip"))) as asking:
        with pytest.raises(ServerError, match="more than 3,000,000 bytes"):
            await asking.download(Link(URL), file, max_bytes=3_000_000)
    assert len(file.getvalue()) <= 3_000_000


async def test_a_file_that_was_packed_unasked_is_unpacked() -> None:
    packed = gzip.compress(CONTENT)
    assert await download(Fixed(x=answer(packed, Content_Encoding="gzip"))) == CONTENT


async def test_a_file_that_was_packed_in_several_pieces_is_unpacked_to_its_end() -> None:
    members = [CONTENT[:300_000], b"", CONTENT[300_000:], b""]
    packed = b"".join(map(gzip.compress, members))
    assert await download(Fixed(x=answer(packed, Content_Encoding="gzip"))) == CONTENT


async def test_pieces_may_be_cut_anywhere_on_their_way() -> None:
    packed = gzip.compress(b"spam") + gzip.compress(b"eggs")
    cut = [packed[i : i + 1] for i in range(len(packed))]
    assert await unpacked(cut) == b"spameggs"
    assert await unpacked([packed]) == b"spameggs"


async def test_pieces_have_one_limit_together() -> None:
    with pytest.raises(TooLargeError, match="more than 7 bytes"):
        await unpacked([gzip.compress(b"spam") + gzip.compress(b"eggs")], 7)
    bombs = gzip.compress(bytes(3_000_000)) * 3
    with pytest.raises(TooLargeError, match="more than 4,000,000 bytes"):
        await unpacked([bombs], 4_000_000)


@pytest.mark.parametrize(
    "rest", [gzip.compress(b"eggs")[:-1], b"rest", bytes(8)], ids=["cut", "text", "zeros"]
)
async def test_a_rest_that_is_not_a_complete_piece_is_garbled(rest: bytes) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        await unpacked([gzip.compress(b"spam"), rest])


async def unpacked(parts: list[bytes], most: int = 100) -> bytes:
    async def stream() -> Any:
        for part in parts:
            yield part

    request = httpx.Request("GET", URL)
    headers = {"Content-Encoding": "gzip"}
    response = httpx.Response(200, headers=headers, content=stream(), request=request)
    return await bodies.read_all(response, most)


@pytest.mark.parametrize("coding", ["gzip, gzip", "br", "zstd"])
async def test_a_file_packed_in_a_way_that_has_no_bound_is_refused(coding: str) -> None:
    with pytest.raises(ServerError, match="unexpected encoding"):
        await download(Fixed(x=answer(b"", Content_Encoding=coding)))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
async def test_a_link_that_is_not_accepted_says_nothing_about_credentials(status: int) -> None:
    with pytest.raises(LinkError, match=rf"http://files.test/x: W&B answered {status}"):
        await download(Fixed(x=httpx.Response(status)))


async def test_no_cookie_is_kept() -> None:
    store = Fixed(x=answer(b"", Set_Cookie="id=1; Path=/"))
    async with session(store) as asking:
        await asking.download(Link(URL), io.BytesIO())
        store.answers["x"] = answer(b"")
        await asking.download(Link(URL), io.BytesIO())
    assert not any("cookie" in request.headers for request in store.requests)


async def test_a_redirect_without_end_is_an_error() -> None:
    turn = httpx.Response(302, headers={"Location": "http://other.test/x"})
    with pytest.raises(CommError, match="redirected more than 5 times"):
        await download(Fixed(x=turn))


async def test_a_redirect_to_another_kind_of_address_is_an_error() -> None:
    turn = httpx.Response(302, headers={"Location": "file:///etc/passwd"})
    with pytest.raises(CommError, match="file:"):
        await download(Fixed(x=turn))


async def test_requests_that_are_redirected_say_where_to() -> None:
    turn = httpx.Response(301, headers={"Location": "https://wandb.test/graphql?secret"})
    async with session(Fixed(x=turn, graphql=turn)) as asking:
        for send in (asking.ask(ASK), asking.upload(Link(URL), pieces_of(b"x"), 1, {})):
            with pytest.raises(CommError, match=r"redirects to https://wandb.test/graphql, and"):
                await send


@pytest.mark.parametrize("given", ["bytes 5-14/100", "bytes 0-9/x", "bytes 0-8/100", "x", ""])
async def test_another_part_of_a_file_is_not_taken(given: str) -> None:
    part = httpx.Response(206, headers={"Content-Range": given}, content=b"0123456789")
    async with session(Fixed(x=part)) as asking:
        assert await asking.piece(Link(URL), "0-9") is None


async def test_a_part_that_is_too_short_is_requested_again() -> None:
    headers = {"Content-Range": "bytes 90-99/100"}
    parts = [httpx.Response(206, headers=headers, content=x) for x in (b"01", b"0123456789")]

    def next_part(_: httpx.Request) -> httpx.Response:
        return parts.pop(0)

    async with session(httpx.MockTransport(next_part)) as asking:
        found = await asking.piece(Link(URL), "-10")
    assert found is not None
    assert (found.content, parts) == (b"0123456789", [])


@pytest.mark.parametrize("size", [5, 15])
async def test_a_file_that_changes_while_it_is_uploaded_is_an_error(size: int) -> None:
    async with serving(never) as url:
        settings = Settings.load(api_key=KEY, base_url=url, environ={})
        async with Session(settings, retry=AT_ONCE) as asking:
            with pytest.raises(ContentError, match="it no longer has 10 bytes"):
                await asking.upload(Link(url), pieces_of(bytes(size)), 10, {})
