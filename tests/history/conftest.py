"""An embedded W&B with any histories, and layers between it and the client."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import httpx
import orjson
import pytest

from aiowandb import AsyncApi
from aiowandb.wire import lenient
from aiowandb_server import RunChanges, Store, create_app

PROJECT = "local/demo"
Mode = Literal["parquet", "json", "mixed"]
Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
# Looks at a request, and answers it with a status or leaves it to W&B.
Fault = Callable[[str, bytes], int | None]


class World:
    """W&B as the client sees it: histories, requests counted by operation, faults on demand."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.asked: Counter[str] = Counter()
        self.fault: Fault = lambda path, body: None

    def add_run(
        self, name: str, rows: Iterable[Mapping[str, Any]], *, finished: bool = True
    ) -> None:
        user = self.store.accounts.ensure_user("local")
        project, _ = self.store.projects.ensure("local", "demo")
        run, _ = self.store.runs.upsert(project, name, RunChanges(user_id=user.id))
        self.store.history.append(run, [lenient.dumps(row) for row in rows])
        if finished:
            self.store.finish(run, exit_code=0)

    @asynccontextmanager
    async def api(self, history: Mode = "parquet", **settings: Any) -> AsyncIterator[AsyncApi]:
        transport = self.transport(history)
        key = self.store.local_key
        async with AsyncApi(
            key, base_url="http://wandb.test", transport=transport, **settings
        ) as api:
            yield api

    def transport(self, history: Mode = "parquet") -> httpx.ASGITransport:
        app = create_app(self.store, history=history)

        async def between(scope: Scope, receive: Receive, send: Send) -> None:
            body, more = b"", True
            while more:
                message = await receive()
                body += message.get("body", b"")
                more = message.get("more_body", False)
            path = scope["path"]
            if path == "/graphql":
                self.asked[orjson.loads(body)["operationName"]] += 1
            else:
                self.asked["download"] += 1
            if status := self.fault(path, body):
                await send({"type": "http.response.start", "status": status, "headers": []})
                await send({"type": "http.response.body", "body": b""})
                return
            messages = iter([{"type": "http.request", "body": body}])

            async def replay() -> Any:
                for first in messages:
                    return first
                return await receive()

            await app(scope, replay, send)  # type: ignore[arg-type]

        return httpx.ASGITransport(between)


@pytest.fixture
def world(tmp_path: Path, new_folder: Callable[[Path], Path]) -> Iterator[World]:
    with Store.open(new_folder(tmp_path / "wandb")) as store:
        yield World(store)
