"""Responses that are hardly HTTP: each is read, or is an error of the library, on both loops."""

from __future__ import annotations

import gzip
import io
from contextlib import suppress

import anyio
import pytest
from anyio.abc import SocketStream

from aiowandb import AiowandbError, AsyncApi, RetryPolicy
from aiowandb.redaction import Link
from tests.conftest import KEY
from tests.support.raw_http import OK, serving

pytestmark = pytest.mark.anyio
BODY = b'{"data": {"viewer": {"id": "1", "username": "u", "entity": "u"}}}'
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
WHOLE = LENGTH + b"\r\n" + BODY
CHUNKS = b"Transfer-Encoding: chunked\r\n\r\n"
PACKED = gzip.compress(BODY)


def length(text: bytes) -> bytes:
    return OK + b"Content-Length: " + text + b"\r\n\r\n" + BODY


def packed(coding: bytes, body: bytes) -> bytes:
    head = b"Content-Encoding: %s\r\nContent-Length: %d\r\n\r\n" % (coding, len(body))
    return OK + head + body


STATUS_LINES = [
    *(b"HTTP/1.1 200", b"http/1.1 200 OK", b"HTTP/1.0 200 OK", b"HTTP/2.0 200 OK", b"HTTP/1 200 X"),
    *(b"HTTP/1.1 99 X", b"HTTP/1.1 000 X", b"HTTP/1.1 999 X", b"HTTP/1.1 2000 X", b"HTTP/1.1 x X"),
    *(b"HTTP/1.1 -20 X", b"HTTP/1.1 100 X", b"HTTP/1.1 101 X", b"HTTP/1.1 204 X"),
    *(b"HTTP/1.1 302 X", b"HTTP/1.1 304 X", b"ICY 200 OK", b"HTTP/1.1\t200\tOK"),
    *(b"HTTP/1.1 200 \xff\xfe", b"HTTP/1.1 200 \0", b"HTTP/1.1 200 " + b"x" * 99_999),
    *("HTTP/1.1 ٢٠٠ OK".encode(), b"\x16\x03\x01\x02"),
    *(b"HTTP/1.1 %d X" % status for status in (205, 206, 226, 299, 300, 301, 303, 307, 308)),
    *(b"HTTP/1.1 %d X" % status for status in (400, 401, 403, 404, 410, 416, 451, 500, 501)),
]
HEADERS = [
    *(b": x", b"A B: x", b"A : x", b"A\0: x", b"A: \0", b"A: \xff", b"A: x\r y", b"A"),
    *(b"A: x\r\n y", b"A: b\r\n" * 999, b"Set-Cookie: a=b", b"Content-Type: \xff", b"ETag: \xff"),
    *(b"Retry-After: " + b"9" * 5000, b"RateLimit-Reset: nan", "RateLimit-Reset: ٣".encode()),
    *(b"RateLimit-Remaining: 1e400", b"Content-MD5: !", b"x-goog-hash: md5=\xff,,="),
    *(b"Content-Range: bytes 9-1/x", b"Upgrade: x"),
    *(b"Content-Encoding: \xff", b"Content-Encoding: br", b"Content-Encoding: gzip"),
]
LENGTHS = [b"-1", b"+5", b"5,5", b"0x5", b"", b"1e3", b"9" * 30, b"9" * 5000, "٥".encode(), b"1_0"]
BODIES = [
    *(CHUNKS + b"%x\r\n" % len(BODY) + BODY + b"\r\n0\r\n\r\n", CHUNKS + b"0\r\n\r\n", CHUNKS),
    *(CHUNKS + size + b"\r\n" + BODY for size in (b"zz", b"-5", b"0x5", b"f" * 16, b"f" * 9999)),
    *(CHUNKS + b"1;" + b"x" * 99_999 + b"\r\n{\r\n", CHUNKS + b"0\r\nA: " + b"x" * 99_999),
    *(LENGTH + CHUNKS + BODY, LENGTH + b"Content-Length: 3\r\n\r\n" + BODY, b"\r\n" + BODY),
]
CODED = [
    *(packed(b"gzip", PACKED), packed(b"gzip", PACKED[:-9]), packed(b"gzip", PACKED + b"x")),
    *(packed(b"gzip, gzip", gzip.compress(PACKED)), packed(b"gzip", b""), packed(b"deflate", BODY)),
]
SHAPES = [
    *(line + b"\r\n" + WHOLE for line in STATUS_LINES),
    *(OK + header + b"\r\n" + WHOLE for header in HEADERS),
    *map(length, LENGTHS),
    *(OK + body for body in BODIES),
    *CODED,
    *(b"", b"\r\n\r\n" + OK + WHOLE, BODY, OK[:9], OK + WHOLE[:-9], (OK + WHOLE) * 2),
    *(b"HTTP/1.1 103 X\r\n\r\n" * times + OK + WHOLE for times in (1, 99)),
]


@pytest.mark.slow
async def test_a_response_is_read_or_is_an_error_of_the_library() -> None:
    sent = b""

    async def answer(stream: SocketStream) -> None:
        await stream.receive()
        await stream.send(sent)

    once = RetryPolicy(random=lambda: 0.0, max_failures=1, max_same_failures=1)
    async with serving(answer) as url:
        for shape in SHAPES:
            sent = shape
            async with AsyncApi(KEY, base_url=url, retry=once, timeout=5) as api:
                with anyio.fail_after(60):
                    with suppress(AiowandbError):
                        assert (await api.viewer()).username == "u"
                    with suppress(AiowandbError):
                        await api._session.download(Link(f"{url}/file"), io.BytesIO())
