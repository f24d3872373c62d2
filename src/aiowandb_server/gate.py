"""Middleware for all requests: counts, latency, rate limit, authentication.

The rate limit works like W&B's: it counts API requests, not downloads, and each response says how
much is left (`RateLimit-*`) or, if nothing is, when to retry (429 with `Retry-After`).
"""

from __future__ import annotations

import time
from collections import Counter
from contextlib import closing, nullcontext
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from aiowandb_server.bodies import Body, Room, check_size, unpacked
from aiowandb_server.budget import BusyError, Lane, busy
from aiowandb_server.errors import RequestError
from aiowandb_server.origins import OriginRules
from aiowandb_server.responses import FAILURES, error, unavailable

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from aiowandb_server.store.records import UserRow

DEFAULT_MAX_BODY = 64 * 2**20
# The keys in the scope with which the endpoints find the user, and the body that was read.
USER = "aiowandb.user"
BODY = "aiowandb.body"
_SNIFFING = b"x-content-type-options"
# Bodies that are unpacked at the same time, of all users and of one: 60 kB can become 60 MB, which
# take the processor for a quarter of a second.
_UNPACKED, _UNPACKED_A_USER = 4, 2
# A body that took longer may have outlived the key that it was sent with.
_KEY_HOLDS_S = 1.0


class RequestGate:
    """The embedded W&B as an ASGI application.

    An API request without a valid key is refused before its body is read. `requests` counts
    requests by kind (`graphql`, `file_stream`, `download`, `upload`) and those that were `refused`
    (400, 403, 413, 429). `writing` is a block around each request that sends rows or files.
    """

    def __init__(
        self,
        app: ASGIApp,
        find_user: Callable[[str | None], UserRow | None],
        *,
        origins: OriginRules | None = None,
        rate_limit: float | None = None,
        latency: float = 0.0,
        max_body: int = DEFAULT_MAX_BODY,
        clock: Callable[[], float] = time.monotonic,
        add_key: Callable[[Scope], None] | None = None,
        room: Room | None = None,
        writing: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._room = room or Room(max_body)
        self._writing = writing
        self._add_key = add_key
        self.requests: Counter[str] = Counter()
        self._app = app
        self._find_user = find_user
        self.origins = origins or OriginRules()
        self._bucket = _TokenBucket(rate_limit, clock) if rate_limit else None
        self._latency = latency
        self._max_body = max_body
        self._clock = clock
        self._unpacking = Lane(_UNPACKED, _UNPACKED_A_USER)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        send = _without_sniffing(send)
        kind = _kind(scope)
        self.requests[kind] += 1
        if self._latency:
            await anyio.sleep(self._latency)
        with self._writing() if kind in ("file_stream", "upload") else nullcontext():
            await self._answer(kind, scope, receive, send)

    async def _answer(self, kind: str, scope: Scope, receive: Receive, send: Send) -> None:
        reason = self.origins.refusal(scope)
        if reason is not None:
            self.requests["refused"] += 1
            await error(403, reason)(scope, receive, send)
        elif kind in ("graphql", "file_stream"):
            if kind == "graphql" and self._add_key:
                self._add_key(scope)
            await self._api_request(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _api_request(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers: list[tuple[bytes, bytes]] = []
        wait = 0.0
        if self._bucket:
            wait = self._bucket.take()
            headers = self._bucket.headers()

        async def send_with_headers(message: Message) -> None:
            if headers and message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *headers]
            await send(message)

        if wait > 0:
            self.requests["refused"] += 1
            headers.append((b"retry-after", f"{wait:.3f}".encode()))
            await error(429, "rate limit exceeded")(scope, receive, send_with_headers)
            return
        if refusal := await self._log_in(scope):
            await refusal(scope, receive, send_with_headers)
            return
        began = self._clock()
        with closing(Body(self._room)) as received:
            try:
                body = await self._read_body(scope, receive, received)
            except RequestError as failure:
                self.requests["refused"] += 1
                await error(failure.status, str(failure))(scope, receive, send_with_headers)
                return
            except BusyError:
                await busy()(scope, receive, send_with_headers)
                return
            with closing(body):
                is_old = self._clock() - began > _KEY_HOLDS_S
                if is_old and (refusal := await self._log_in(scope)):
                    await refusal(scope, receive, send_with_headers)
                    return
                scope[BODY] = body
                await self._app(scope, receive, send_with_headers)

    async def _log_in(self, scope: Scope) -> Response | None:
        """Add the user to the scope, or return the error response."""
        found = dict(scope["headers"]).get(b"authorization")
        authorization = None if found is None else found.decode("latin-1")
        try:
            user = await anyio.to_thread.run_sync(self._find_user, authorization)
        except FAILURES as failure:
            return unavailable(failure)
        if user is None:
            return error(401, "user is not logged in")
        scope[USER] = user
        return None

    async def _read_body(self, scope: Scope, receive: Receive, body: Body) -> Body:
        """The body, decompressed; refused as soon as it is known to be too large."""
        headers = dict(scope["headers"])
        check_size(_content_length(headers.get(b"content-length", b"")), self._max_body)
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise RequestError("the body ended early")
            data = message.get("body", b"")
            check_size(body.size + len(data), self._max_body)
            await body.write(data)
            more = message.get("more_body", False)
        if headers.get(b"content-encoding", b"").lower() != b"gzip":
            return body
        async with self._unpacking.taken(scope[USER].id, 1):
            return await anyio.to_thread.run_sync(unpacked, body, self._room, self._max_body)


def _without_sniffing(send: Send) -> Send:
    """Tell browsers to take each answer for the type that it has: files are what runs upload."""

    async def send_with_header(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [
                *(pair for pair in message["headers"] if pair[0].lower() != _SNIFFING),
                (_SNIFFING, b"nosniff"),
            ]
        await send(message)

    return send_with_header


class _TokenBucket:
    """Each request takes a token; `rate` tokens are added every second, up to that many."""

    def __init__(self, rate: float, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._size = max(rate, 1.0)
        self._clock = clock
        self._tokens = self._size
        self._updated = clock()

    def take(self) -> float:
        """Take a token and return 0, or return the seconds until there is one."""
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


def _content_length(header: bytes) -> int:
    # Servers check this header; in-process transports pass on any value.
    if header and not (header.isdigit() and len(header) < 20):
        raise RequestError(f"{header.decode('latin-1')!r} is not a Content-Length")
    return int(header or b"0")


def _kind(scope: Scope) -> str:
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    # Not every path that ends so: files and projects may have this name, too.
    if path == "/graphql":
        return "graphql"
    if path.endswith("/file_stream") and scope["method"] == "POST":
        return "file_stream"
    return "upload" if scope["method"] in ("PUT", "POST") else "download"
