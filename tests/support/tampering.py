"""A client of the embedded W&B, with a layer that changes or refuses responses."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from aiowandb import AsyncApi, RetryPolicy
from aiowandb_server import Store, create_app


def as_it_is(_: str, body: bytes) -> bytes:
    return body


def never(_: str) -> bool:
    return False


@asynccontextmanager
async def connected(
    store: Store,
    change: Callable[[str, bytes], bytes] = as_it_is,
    refuse: Callable[[str], bool] = never,
    *,
    says_length: bool = False,
    retry: RetryPolicy | None = None,
) -> AsyncIterator[AsyncApi]:
    """A client that reads what `change` makes of the answers at a path, or a 403.

    How long an answer was before that is said only if asked for, as if it were cut.
    """
    app = create_app(store)

    async def between(scope: Any, receive: Any, send: Any) -> None:
        path: str = scope["path"]
        is_refused = refuse(path)

        async def resend(message: Any) -> None:
            if message["type"] == "http.response.body":
                message = message | {"body": change(path, message.get("body", b""))}
            else:
                hidden = () if says_length else (b"content-length",)
                headers = [pair for pair in message["headers"] if pair[0] not in hidden]
                status = 403 if is_refused else message["status"]
                message = message | {"status": status, "headers": headers}
            await send(message)

        await app(scope, receive, resend)

    async with AsyncApi(
        store.local_key,
        base_url="http://wandb.test",
        transport=httpx.ASGITransport(between),
        retry=retry,
    ) as api:
        yield api


def there(folder: Path) -> dict[str, bytes]:
    """The files in a folder and below."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
