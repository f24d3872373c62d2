"""A project in an embedded W&B that can be changed between two exports."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, Literal

import httpx
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aiowandb import AsyncApi
from aiowandb.api.runs import Runs
from aiowandb.export import pipeline
from aiowandb.export.folders.base import warn_once
from aiowandb_server import RunChanges, Store, create_app
from aiowandb_server.store.stream import Chunk, StreamUpdate
from aiowandb_server.store.sweeps import SweepChanges
from tests.export.bucket import Bucket
from tests.support.in_process import client_of

Row = Mapping[str, Any]


class Project:
    """Runs that are written straight into the store."""

    path = "local/demo"

    def __init__(self, store: Store) -> None:
        self.store = store
        self._project, _ = store.projects.ensure("local", "demo")
        self._made = 0

    def log(self, name: str, rows: Sequence[Row], *, finish: bool = True) -> None:
        """Add rows to the run's history, making the run if need be."""
        run = self.store.runs.get(self._project, name)
        if run is None:
            self._made += 1
            made_at = RunChanges(created_at=1_750_000_000 + self._made)
            run, _ = self.store.runs.upsert(self._project, name, made_at)
        self.store.history.append(run, [json.dumps(row) for row in rows])
        if finish:
            self.store.finish(run)

    def post(self, name: str, offset: int, rows: Sequence[Row], *, finish: bool) -> None:
        """Have these rows at this place of the run's history, as a script that logs them does."""
        if self.store.runs.get(self._project, name) is None:
            self.log(name, [], finish=False)
        lines = Chunk(offset, [json.dumps(row) for row in rows])
        ends: dict[str, Any] = {"complete": True, "exit_code": 0} if finish else {}
        self.store.stream.apply(self.run(name), StreamUpdate(chunks={"history": lines}, **ends))

    def configure(self, name: str, config: Mapping[str, Any]) -> None:
        text = json.dumps({key: {"value": value} for key, value in config.items()})
        self.store.runs.upsert(self._project, name, RunChanges(config=text))

    def define_metrics(self, name: str, defined: Sequence[Any]) -> None:
        """Have this of `define_metric` in W&B's own entry of the config."""
        self.set_config(name, {"_wandb": {"value": {"m": defined}}})

    def summarize(self, name: str, summary: Mapping[str, Any]) -> None:
        self.store.runs.upsert(self._project, name, RunChanges(summary=json.dumps(summary)))

    def make_sweep(self, config: str) -> str:
        return self.store.sweeps.create(self._project, SweepChanges(config=config)).name

    def delete_sweep(self, sweep: str) -> None:
        """Delete a sweep, which W&B can and the embedded one cannot."""
        with self.store.sweeps._database.write() as connection:
            connection.execute("DELETE FROM sweep WHERE name = ?", (sweep,))

    def join_sweep(self, name: str, sweep: str) -> None:
        self.store.runs.upsert(self._project, name, RunChanges(sweep=sweep))

    def damage(self, name: str, field: Literal["config", "summary"]) -> None:
        """Have text that is no JSON where that should be, which the embedded W&B does not take."""
        with self.store.sweeps._database.write() as connection:
            update = f"UPDATE run SET {field} = ? WHERE name = ?"
            connection.execute(update, ('{"a": ', name))

    def rename(self, name: str, display_name: str) -> None:
        self.store.runs.upsert(self._project, name, RunChanges(display_name=display_name))

    def log_system(self, name: str, rows: Sequence[Row]) -> None:
        """Add system metrics to a run, which ends."""
        lines = Chunk(0, [json.dumps(row) for row in rows])
        update = StreamUpdate(chunks={"events": lines}, complete=True, exit_code=0)
        self.store.stream.apply(self.run(name), update)

    def write_lines(self, name: str, lines: Sequence[str], *, finish: bool = True) -> None:
        """Add console output to a run, as W&B's client sends it."""
        run = self.run(name)
        ends: dict[str, Any] = {"complete": True, "exit_code": 0} if finish else {}
        chunk = Chunk(run.console_lines, list(lines))
        self.store.stream.apply(run, StreamUpdate(chunks={"console": chunk}, **ends))

    def resume(self, name: str) -> None:
        """Have the run go on, as if its script had started again."""
        self.store.runs.upsert(self._project, name, RunChanges(state="running"))

    def set_config(self, name: str, config: Mapping[str, Any]) -> None:
        """Have this config as it is stored, W&B's own entry included."""
        self.store.runs.upsert(self._project, name, RunChanges(config=json.dumps(config)))

    def add_report(self, title: str, spec: str) -> str:
        return self.store.reports.add(self._project, title, spec=spec).name

    def rewind(self, name: str, last_step: int) -> None:
        self.store.history.rewind(self.run(name), last_step)

    def delete(self, name: str) -> None:
        self.store.runs.delete(self.run(name).id)

    def run(self, name: str) -> Any:
        run = self.store.runs.get(self._project, name)
        assert run
        return run


def steps(first: int, end: int, **values: Any) -> list[Row]:
    """Rows with a step, a time and a loss each."""
    return [
        {"_step": step, "_timestamp": 1_750_000_000.25 + step, "loss": 1 / (step + 1), **values}
        for step in range(first, end)
    ]


def history(folder: Path) -> pa.Table:
    """The history in a folder, as a reader of datasets sees it."""
    return pq.read_table(folder / "history")


def places(folder: Path) -> list[tuple[str, int]]:
    """Run and step of every row, in the order in which they lie."""
    table = history(folder)
    return [(row["run_id"], row["_step"]) for row in table.select(["run_id", "_step"]).to_pylist()]


def contents(folder: Path) -> dict[str, bytes]:
    """What a user finds in the folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".aiowandb-export" not in path.parts
    }


@pytest.fixture(autouse=True)
def warned_anew() -> None:
    """What is warned of once a process is warned of once a test."""
    warn_once.cache_clear()


@pytest.fixture
def store(tmp_path: Path, new_folder: Callable[[Path], Path]) -> Iterator[Store]:
    seconds = count(1_760_000_000)  # each look at the clock is a second later
    clock = lambda: float(next(seconds))  # noqa: E731
    with Store.open(new_folder(tmp_path / "wandb"), clock=clock, crash_after=math.inf) as store:
        yield store


@pytest.fixture
def project(store: Store) -> Project:
    return Project(store)


class Server(httpx.AsyncBaseTransport):
    """The embedded W&B in the process, with faults that a test can switch on.

    Pages of poisoned runs are answered with an error, `failures` times; the first
    `healthy_pages` of them go well. What it forgets is missing among the keys that it says runs
    have; `types` are more types that it supports of keys. Pages of runs that are too long are
    answered with 502. Of the system metrics of a run it has at most `most_events`. The first
    `refusals` requests come too early. Operations with `broken` names fail. Once it is gone, nobody
    answers at all.
    """

    def __init__(self, store: Store) -> None:
        self._inner = httpx.ASGITransport(create_app(store))
        self.poisoned: set[str] = set()
        self.healthy_pages = 0
        self.failures = math.inf
        self.forgets: set[str] = set()
        self.types: dict[str, str] = {}
        self.longest_page = math.inf
        self.most_events: int | None = None
        self.refusals = 0
        self.broken: set[str] = set()
        self.pages_asked: list[int] = []
        self.is_gone: Callable[[], bool] = lambda: False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self.is_gone():
            raise httpx.ConnectError("connection refused", request=request)
        if self.refusals:
            self.refusals -= 1
            return httpx.Response(429, headers={"Retry-After": "1"}, stream=httpx.ByteStream(b""))
        asked = orjson.loads(request.content) if request.method == "POST" else {}
        if asked.get("operationName") == "Runs":
            self.pages_asked.append(asked["variables"]["perPage"])
            if self.pages_asked[-1] > self.longest_page:
                return httpx.Response(502, stream=httpx.ByteStream(b"too much"))
        if asked.get("operationName") in self.broken:
            return answered({"errors": [{"message": "it is broken"}]})
        if asked and self._is_poisoned(asked):
            return answered({"errors": [{"message": "the run is poisoned"}]})
        response = await self._inner.handle_async_request(request)
        if self.most_events is not None and asked.get("operationName") == "HistorySamples":
            answer = orjson.loads(await response.aread())
            for run in answer["data"]["project"].values():
                del run["history"][self.most_events :]
            return answered(answer)
        if (self.forgets or self.types) and request.method == "POST":
            return await self._forgetful(response)
        return response

    async def _forgetful(self, response: httpx.Response) -> httpx.Response:
        answer = orjson.loads(await response.aread())
        for edge in answer["data"]["project"].get("runs", {}).get("edges", ()):
            keys = edge["node"]["historyKeys"]["keys"]
            for key in self.forgets.intersection(keys):
                del keys[key]
            for key, called in self.types.items():
                keys[key]["typeCounts"].append({"type": called, "count": 1})
        return answered(answer)

    def _is_poisoned(self, asked: Any) -> bool:
        names = set(map(str, asked.get("variables", {}).values()))
        if not asked.get("operationName", "").startswith("HistoryPage") or names.isdisjoint(
            self.poisoned
        ):
            return False
        self.healthy_pages -= 1
        if self.healthy_pages >= 0:
            return False
        self.failures -= 1
        return self.failures >= 0


def answered(body: Any) -> httpx.Response:
    return httpx.Response(200, stream=httpx.ByteStream(orjson.dumps(body)))


@pytest.fixture
def server(store: Store) -> Server:
    return Server(store)


@pytest.fixture
async def api(store: Store, server: Server) -> AsyncIterator[AsyncApi]:
    async with client_of(store, server) as api:
        yield api


@pytest.fixture
def runs(api: AsyncApi, project: Project) -> Runs:
    """The runs of the project, in the order in which they were made."""
    return api.runs(project.path, order="+created_at")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts are full with a hundred rows."""
    monkeypatch.setattr(pipeline, "PART_ROWS", 100)


@pytest.fixture
def bucket(s3: str) -> Iterator[Bucket]:
    bucket = Bucket(s3)
    yield bucket
    bucket.fs.delete_dir("lake")
