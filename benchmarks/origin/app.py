"""The replay server as an ASGI application: latency, rate limit, counts, ranges of files."""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

import orjson

from benchmarks.origin.answers import Unanswerable, answer
from benchmarks.origin.project import Project

Message: TypeAlias = MutableMapping[str, Any]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Receive: TypeAlias = Callable[[], Awaitable[Message]]

_CHUNK = 1 << 20


class Replay:
    """Answers for a project. Every request waits `latency` seconds first.

    As at W&B, the rate limit is for API requests, not for downloads.
    """

    def __init__(self, project: Project, latency: float, rate_limit: float | None) -> None:
        self._project = project
        self._root = project.root()
        self._latency = latency
        self._bucket = _TokenBucket(rate_limit) if rate_limit else None
        self._counts: Counter[str] = Counter(api=0, refused=0, downloads=0, bytes=0)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        if path == "/counts":
            await _send(send, 200, orjson.dumps(self._counts))
            return
        await asyncio.sleep(self._latency)
        if path == "/graphql":
            await self._graphql(receive, send)
        else:
            await self._download(scope, send)

    async def _graphql(self, receive: Receive, send: Send) -> None:
        self._counts["api"] += 1
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        if self._bucket and (wait := self._bucket.take()):
            self._counts["refused"] += 1
            headers = [(b"retry-after", b"%d" % math.ceil(wait)), *self._bucket.headers()]
            await _send(send, 429, b'{"errors":[{"message":"rate limit exceeded"}]}', headers)
            return
        try:
            status, found = 200, answer(self._root, body)
        except Unanswerable as problem:
            status, found = 400, orjson.dumps({"errors": [{"message": str(problem)}]})
        self._counts["bytes"] += len(found)
        await _send(send, status, found, self._bucket.headers() if self._bucket else [])

    async def _download(self, scope: Message, send: Send) -> None:
        found = re.fullmatch(r"/exports/(\d+)\.parquet", scope["path"])
        if found is None:
            await _send(send, 404, b"not found")
            return
        content = memoryview(self._project.parquet(int(found[1])))
        size, status = len(content), 200
        headers = [(b"accept-ranges", b"bytes")]
        wanted = re.fullmatch(rb"bytes=(\d*)-(\d*)", dict(scope["headers"]).get(b"range", b""))
        if wanted:
            # `-n` is the last n bytes, `a-` all from a, `a-b` includes b.
            first = int(wanted[1]) if wanted[1] else max(size - int(wanted[2]), 0)
            last = min(int(wanted[2]), size - 1) if wanted[1] and wanted[2] else size - 1
            content, status = content[first : last + 1], 206
            headers.append((b"content-range", b"bytes %d-%d/%d" % (first, last, size)))
        if scope["method"] == "HEAD":
            await _send(send, status, b"", headers, length=len(content))
            return
        self._counts["downloads"] += 1
        self._counts["bytes"] += len(content)
        await _send(send, status, content, headers)


class _TokenBucket:
    """`rate` tokens come in a second, and no more than that are kept."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._tokens = rate
        self._updated = time.monotonic()

    def take(self) -> float:
        """Take a token and give 0, or give the seconds until there will be one."""
        now = time.monotonic()
        self._tokens = min(self._rate, self._tokens + (now - self._updated) * self._rate)
        self._updated = now
        if self._tokens < 1:
            return (1 - self._tokens) / self._rate
        self._tokens -= 1
        return 0.0

    def headers(self) -> list[tuple[bytes, bytes]]:
        seconds = (self._rate - self._tokens) / self._rate
        return [
            (b"ratelimit-limit", b"%d" % self._rate),
            (b"ratelimit-remaining", b"%d" % self._tokens),
            (b"ratelimit-reset", b"%d" % math.ceil(seconds)),
        ]


async def _send(
    send: Send,
    status: int,
    body: bytes | memoryview,
    headers: list[tuple[bytes, bytes]] | None = None,
    length: int | None = None,
) -> None:
    start = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % (len(body) if length is None else length)),
        *(headers or []),
    ]
    await send({"type": "http.response.start", "status": status, "headers": start})
    for begin in range(0, max(len(body), 1), _CHUNK):
        chunk = bytes(body[begin : begin + _CHUNK])
        more = begin + _CHUNK < len(body)
        await send({"type": "http.response.body", "body": chunk, "more_body": more})
