"""A project with every kind of run on a port, with counted and delayed requests, and its export."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import anyio.to_thread
import orjson
import pyarrow as pa
import pytest

from aiowandb import Api
from aiowandb_server import Store, create_app, serve_in_thread
from tests.readplan.world import PATH, World, exported

Send = Callable[[Any], Awaitable[None]]


class Project:
    """A W&B with a project. It counts requests, and can delay downloads."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world = world
        self.folder = folder
        self.url = ""
        self.asked: Counter[str] = Counter()
        self.signatures: set[str] = set()
        self.reached = threading.Event()
        self._open = threading.Event()
        self._open.set()
        self._app = create_app(world.store)

    def secrets_in(self, shown: str | bytes) -> list[str]:
        """What of the key, and of the signatures of the links that were followed, is shown."""
        content = shown.encode() if isinstance(shown, str) else shown
        assert self.signatures
        return [each for each in (self.world.key, *self.signatures) if each.encode() in content]

    def hold_up(self) -> None:
        """Let the next download wait, and set `reached` when it does."""
        self.reached.clear()
        self._open.clear()

    def go_on(self) -> None:
        self._open.set()

    def export(self, name: str, **options: Any) -> pa.Table:
        """What an export has of it by now."""
        with Api(self.world.key, base_url=self.url) as api:
            return exported(api, self.folder / name, **options)

    async def __call__(self, scope: Mapping[str, Any], receive: Any, send: Send) -> None:
        if scope["path"] != "/graphql":
            self.asked["download"] += 1
            self.signatures.update(parse_qs(scope["query_string"].decode())["signature"])
            self.reached.set()
            await anyio.to_thread.run_sync(self._open.wait)
            await self._app(scope, receive, send)  # type: ignore[arg-type]
            return
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        self.asked[orjson.loads(body)["operationName"]] += 1
        messages = iter([{"type": "http.request", "body": body}])

        async def replay() -> Any:
            for first in messages:
                return first
            return await receive()

        await self._app(scope, replay, send)  # type: ignore[arg-type]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """The project, whose address and key are in the environment."""
    with Store.open(tmp_path / "wandb") as store:
        world = World(store)
        world.add_odd_runs()
        found = Project(world, tmp_path)
        with serve_in_thread(found) as found.url:
            monkeypatch.setenv("WANDB_BASE_URL", found.url)
            monkeypatch.setenv("WANDB_API_KEY", world.key)
            yield found
            found.go_on()


def rows(table: pa.Table) -> list[str]:
    """The rows in an order that says nothing, columns by name."""
    names = sorted(table.schema.names)
    return sorted(repr([row[name] for name in names]) for row in table.to_pylist())


__all__ = ["PATH", "Project", "rows"]
