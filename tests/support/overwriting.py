"""The embedded W&B with W&B's behaviour for two writers of a run: the last one overwrites."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
_FEATURE = b"AIOWANDB_EXCLUSIVE_APPEND"


async def replayed(
    receive: Callable[[], Awaitable[Message]],
) -> tuple[bytes, Callable[[], Awaitable[Message]]]:
    """The body of a request, and what gives it to somebody else once more."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)

    async def again() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return body, again


class PlainWandb:
    """Announces nothing that W&B does not have. What is in `before_rows` is done one by one,
    each before the next request with rows arrives: `after_rows`, once it was stored."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self.before_rows: list[Callable[[], object]] = []
        self.after_rows: list[Callable[[], object]] = []

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        async def send_plain(message: Message) -> None:
            if message["type"] == "http.response.body":
                body = message["body"].replace(_FEATURE, b"X" * len(_FEATURE))
                message = {**message, "body": body}
            await send(message)

        body, again = await replayed(receive)
        has_rows = b"wandb-history.jsonl" in body
        assert b"appender" not in body
        if has_rows and self.before_rows:
            self.before_rows.pop(0)()
        await self._app(scope, again, send_plain)
        if has_rows and self.after_rows:
            self.after_rows.pop(0)()
