"""A server of one file, completely or in pieces, with a count of what it sent."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any


class Shelf:
    """Hands out one file, by pieces if `by_pieces`; `replaced` after so many requests."""

    def __init__(self, content: bytes, *, by_pieces: bool = True) -> None:
        self.content = content
        self.by_pieces = by_pieces
        self.replaced: int | None = None
        self.sent: list[int] = []

    async def __call__(
        self,
        scope: Any,
        receive: Callable[[], Awaitable[Any]],
        send: Callable[[Any], Awaitable[None]],
    ) -> None:
        wish = dict(scope["headers"]).get(b"range", b"").decode()
        content, size = self.content, len(self.content)
        etag = b'"2"' if self.replaced is not None and len(self.sent) >= self.replaced else b'"1"'
        headers = [(b"etag", etag)]
        status = 200
        if self.by_pieces and (found := re.fullmatch(r"bytes=(\d*)-(\d*)", wish)):
            first, last = found.groups()
            start = int(first) if first else max(0, size - int(last))
            end = min(size, int(last) + 1) if first and last else size
            content, status = content[start:end], 206
            headers.append((b"content-range", f"bytes {start}-{end - 1}/{size}".encode()))
        headers.append((b"content-length", str(len(content)).encode()))
        self.sent.append(len(content))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})
