"""Links and headers from a server that are none, or that lead somewhere else than to files."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from aiowandb import CommError, RetryPolicy, ServerError
from aiowandb.config.settings import Settings
from aiowandb.net import Session
from aiowandb.readplan.links import ends_at
from aiowandb.redaction import Link
from aiowandb.wire.files import CreatedFiles, headers_of_upload
from tests.conftest import KEY

pytestmark = pytest.mark.anyio

# Nobody listens on port 1, and a name that ends in a dot and a dot cannot be looked up.
LINKS = [
    *("", "x", "?a", "#", "/x", "//127.0.0.1:1/x", "http:127.0.0.1/x", "1http://x/", "http:///x"),
    *("file:///etc/passwd", "ftp://127.0.0.1/x", "javascript:alert(1)", "data:,x"),
    *("http://[::1", "http://[::1]:x/", "http://[v1.x]/", "http://fe80::1/", "http://a:b:c/"),
    *(
        "http://127.0.0.1:99999/x",
        "http://127.0.0.1:-1/x",
        "http://127.0.0.1:1\\@x/",
        "http://a\\b/",
    ),
    *("http://xn--a/x", "http://a..b/x", f"http://{'a' * 70}.com/", f"http://{'a' * 300}/"),
    *("http://127.0.0.1:1/\0", "http://127.0.0.1:1/a\r\nX: y", "http://127.0.0.1:1/\x1b[2J"),
    *("http://127.0.0.1:1/\ud800", "http://\u200b/", "http://\u2100/", "http://127.0.0.1:1/\x9b2J"),
    *("http://127.0.0.1:1/?sig=SECRET", "http://user:SECRET@127.0.0.1:1/x", "HTTP://127.0.0.1:1/"),
    *(f"http://127.0.0.1:1/{'x' * 60_000}", f"http://127.0.0.1:1/{'x' * 1_000_000}"),
]


async def nothing() -> AsyncIterator[bytes]:
    yield b""


async def test_a_link_that_cannot_be_requested_is_an_error_of_the_library() -> None:
    """With a message that a person can read, without what should be in none."""
    settings = Settings.load(api_key=KEY, base_url="http://127.0.0.1:1", environ={})
    once = RetryPolicy(random=lambda: 0.0, max_connect_failures=1)
    calls: list[Callable[[Session, Link], Awaitable[object]]] = [
        lambda session, link: session.download(link, io.BytesIO()),
        lambda session, link: session.piece(link, "0-9"),
        lambda session, link: session.upload(link, nothing, 0, {}),
    ]
    async with Session(settings, retry=once) as session:
        for link in LINKS:
            for call in calls:
                with pytest.raises(CommError) as caught:
                    await call(session, Link(link))
                said = f"{caught.value}"
                assert len(said) < 3_000, link[:100]
                assert said.isprintable(), link
                assert "SECRET" not in f"{said} {Link(link)!r}"


def test_when_a_link_expires_is_unknown_if_it_is_none() -> None:
    assert {ends_at(link) for link in LINKS} == {None}


@pytest.mark.parametrize(
    "line",
    ["", ": x", "A B: c", "A\rB: b", "é: x", "\0: a", "A: b\r\nX: y", "A: \0", "A: é", "A: \ud800"],
    ids=ascii,
)
def test_a_header_that_http_does_not_allow_is_refused(line: str) -> None:
    with pytest.raises(ServerError, match="W&B sent an invalid header for an upload"):
        CreatedFiles(upload_headers=["x-ok: 1", line]).headers()


def test_how_an_upload_is_framed_is_not_for_the_server_to_say() -> None:
    lines = ["Content-MD5:a=", "content-length: 5", "Transfer-Encoding: chunked", "Host: evil.test"]
    assert headers_of_upload(lines) == {"Content-MD5": "a="}
