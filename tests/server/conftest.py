"""A store, and a client that talks to the application over it without a port."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from aiowandb_server import Store, create_app
from aiowandb_server.gate import RequestGate
from aiowandb_server.store.records import ProjectRow, RunChanges, RunRow

START = 1_750_000_000


class Clock:
    """A clock that only moves when it is set."""

    def __init__(self) -> None:
        self.now = float(START)

    def __call__(self) -> float:
        return self.now


@dataclass
class Client:
    """Asks the embedded W&B as its `local` user does."""

    http: httpx.AsyncClient
    keyless: httpx.AsyncClient
    app: RequestGate

    async def send(self, query: str, **variables: Any) -> httpx.Response:
        body = {"query": query, "variables": variables, "operationName": ""}
        return await self.http.post("/graphql", json=body)

    async def ask(self, query: str, **variables: Any) -> Any:
        """The data of the answer, which must hold no errors."""
        response = await self.send(query, **variables)
        assert response.status_code == 200, response.text
        return response.json()["data"]

    async def refusal(self, query: str, **variables: Any) -> tuple[int, str]:
        """Status and message of an answer that must be a refusal."""
        response = await self.send(query, **variables)
        return response.status_code, response.json()["errors"][0]["message"]

    async def stream(self, path: str, body: Any) -> httpx.Response:
        return await self.http.post(f"/files/{path}/file_stream", json=body)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock, new_folder: Callable[[Path], Path]) -> Iterator[Store]:
    with Store.open(new_folder(tmp_path / "data"), clock=clock) as store:
        yield store


@pytest.fixture
def project(store: Store) -> ProjectRow:
    return store.projects.ensure("local", "demo")[0]


@pytest.fixture
def run(store: Store, project: ProjectRow) -> RunRow:
    return store.runs.upsert(project, "r1", RunChanges(config='{"lr": {"value": 0.1}}'))[0]


@pytest.fixture
async def client(store: Store) -> AsyncIterator[Client]:
    app = create_app(store)

    def open_client(**settings: Any) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(app=app)
        return httpx.AsyncClient(transport=transport, base_url="http://aiowandb_server", **settings)

    async with open_client(auth=("api", store.local_key)) as http, open_client() as keyless:
        yield Client(http, keyless, app)
