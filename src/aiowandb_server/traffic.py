"""What happens to a request before it is looked at: counted, delayed, limited.

The rate limit is W&B's: it counts API requests, not downloads, and says with every answer what
is left (`RateLimit-*`) and, once nothing is, when to come back (429 with `Retry-After`).
"""

from __future__ import annotations

import time
import zlib
from collections import Counter
from typing import TYPE_CHECKING

import anyio
import orjson

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

DEFAULT_MAX_BODY = 64 * 2**20


class Traffic:
    """The embedded W&B as an ASGI application.

    `requests` counts what came in by kind: `graphql`, `file_stream`, `download`, `upload`,
    `refused` (429 and 413).
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        rate_limit: float | None = None,
        latency: float = 0.0,
        max_body: int = DEFAULT_MAX_BODY,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.requests: Counter[str] = Counter()
        self._app = app
        self._bucket = _TokenBucket(rate_limit, clock) if rate_limit else None
        self._latency = latency
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        kind = _kind(scope)
        self.requests[kind] += 1
        if self._latency:
            await anyio.sleep(self._latency)
        if kind in ("graphql", "file_stream"):
            await self._api_request(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _api_request(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers: list[tuple[bytes, bytes]] = []
        if self._bucket:
            wait = self._bucket.take()
            headers = self._bucket.headers()
            if wait > 0:
                self.requests["refused"] += 1
                retry = (b"retry-after", f"{wait:.3f}".encode())
                await _answer(send, 429, "rate limit exceeded", [*headers, retry])
                return
        try:
            body: bytes | None = await self._whole_body(scope, receive)
        except _BodyError as error:
            self.requests["refused"] += 1
            await _answer(send, error.status, str(error), headers)
            return

        async def replay() -> Message:
            nonlocal body
            if body is None:
                return await receive()
            message: Message = {"type": "http.request", "body": body, "more_body": False}
            body = None
            return message

        async def send_with_headers(message: Message) -> None:
            if headers and message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *headers]
            await send(message)

        await self._app(scope, replay, send_with_headers)

    async def _whole_body(self, scope: Scope, receive: Receive) -> bytes:
        """The body, unpacked; refused as soon as it is known to be too large."""
        headers = dict(scope["headers"])
        self._check_size(int(headers.get(b"content-length", b"0") or b"0"))
        body = bytearray()
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _BodyError(400, "the body broke off")
            body += message.get("body", b"")
            self._check_size(len(body))
            more = message.get("more_body", False)
        if headers.get(b"content-encoding", b"").lower() != b"gzip":
            return bytes(body)
        unpacker = zlib.decompressobj(wbits=31)
        try:
            plain = unpacker.decompress(body, self._max_body + 1)
        except zlib.error as error:
            raise _BodyError(400, f"the body is not gzip as it says: {error}") from error
        self._check_size(len(plain))
        if not unpacker.eof:
            raise _BodyError(400, "the body is not gzip as it says: it breaks off")
        return plain

    def _check_size(self, size: int) -> None:
        if size > self._max_body:
            raise _BodyError(413, f"the body is larger than {self._max_body} bytes")


class _BodyError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class _TokenBucket:
    """A request costs one token; `rate` tokens come in a second, and no more than that are kept."""

    def __init__(self, rate: float, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._size = max(rate, 1.0)
        self._clock = clock
        self._tokens = self._size
        self._updated = clock()

    def take(self) -> float:
        """Take a token and give 0, or give the seconds until there will be one."""
        now = self._clock()
        self._tokens = min(self._size, self._tokens + (now - self._updated) * self._rate)
        self._updated = now
        if self._tokens < 1:
            return (1 - self._tokens) / self._rate
        self._tokens -= 1
        return 0.0

    def headers(self) -> list[tuple[bytes, bytes]]:
        missing = self._size - self._tokens
        return [
            (b"ratelimit-limit", f"{self._size:g}".encode()),
            (b"ratelimit-remaining", str(int(self._tokens)).encode()),
            (b"ratelimit-reset", f"{missing / self._rate:.3f}".encode()),
        ]


def _kind(scope: Scope) -> str:
    path: str = scope["path"]
    if path.endswith("/graphql"):
        return "graphql"
    if path.endswith("/file_stream") and scope["method"] == "POST":
        return "file_stream"
    return "upload" if scope["method"] in ("PUT", "POST") else "download"


async def _answer(
    send: Send, status: int, message: str, headers: list[tuple[bytes, bytes]]
) -> None:
    # Both forms of error that W&B's clients look for.
    body = orjson.dumps({"error": message, "errors": [{"message": message}]})
    start = [
        *headers,
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
    ]
    await send({"type": "http.response.start", "status": status, "headers": start})
    await send({"type": "http.response.body", "body": body})
