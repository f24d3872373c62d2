"""An Iceberg table has the rows of all runs; each commit is one transaction."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest

from aiowandb import AsyncApi, ExportResult, IcebergSink, UsageError
from aiowandb.export import RunFinished
from aiowandb.export.sinks import iceberg
from aiowandb_server import Store
from tests.export.conftest import Project, Server, steps
from tests.support.in_process import client_of

pytest.importorskip("pyiceberg")
pytestmark = [
    pytest.mark.engines,
    pytest.mark.anyio,
    pytest.mark.filterwarnings("default"),  # of what pyiceberg imports
]


@pytest.fixture(params=["asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    seconds = count(1_760_000_000)  # runs do not seem to have crashed
    clock = lambda: float(next(seconds))  # noqa: E731
    with Store.open(tmp_path / "wandb", clock=clock, crash_after=math.inf) as store:
        yield store


@pytest.fixture
def server(store: Store) -> Server:
    return Server(store)


@pytest.fixture
async def api(store: Store, server: Server) -> AsyncIterator[AsyncApi]:
    async with client_of(store, server) as api:
        yield api


class Lake:
    """A catalogue in a folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._properties = {
            "type": "sql",
            "uri": f"sqlite:///{folder}/catalog.db",
            "warehouse": folder.as_uri(),
        }

    async def export(self, api: AsyncApi, table: str = "history", **options: Any) -> ExportResult:
        sink = IcebergSink(f"wandb.{table}", "lake", **self._properties)
        return await api.runs("local/demo", order="+created_at").export(sink, **options)

    def table(self, name: str = "history") -> Any:
        from pyiceberg.catalog import load_catalog

        return load_catalog("lake", **self._properties).load_table(f"wandb.{name}")

    def places(self) -> list[tuple[str, int]]:
        rows = self.table().scan().to_arrow().to_pylist()
        return sorted((row["run_id"], row["_step"]) for row in rows)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


@pytest.fixture
def project(store: Store) -> Project:
    return Project(store)


async def test_a_table_has_all_rows_and_later_what_is_new(
    api: AsyncApi, project: Project, lake: Lake
) -> None:
    project.log("a", steps(0, 5, key="x", flag=True), finish=False)
    project.log("b", steps(0, 3, parts=[1.5, 2]))
    assert (await lake.export(api)).rows == 8
    assert (await lake.export(api)).rows == 0
    project.log("a", steps(5, 7, late=1.5))
    project.log("c", steps(0, 2))
    assert (await lake.export(api)).rows == 4
    rows = lake.table().scan().to_arrow()
    assert lake.places() == [("a", i) for i in range(7)] + [
        (run, i) for run, end in (("b", 3), ("c", 2)) for i in range(end)
    ]
    assert sum(value is not None for value in rows["late"].to_pylist()) == 2
    assert "[1.5,2.0]" in rows["parts"].to_pylist()


async def test_a_run_that_was_rewound_is_replaced(
    api: AsyncApi, project: Project, lake: Lake
) -> None:
    project.log("a", steps(0, 5), finish=False)
    project.log("b", steps(0, 2))
    await lake.export(api)
    project.rewind("a", 2)
    project.log("a", steps(3, 9, other=1.0))
    assert (await lake.export(api)).failed == ()
    assert lake.places() == [("a", i) for i in range(9)] + [("b", 0), ("b", 1)]


async def test_an_export_that_fails_changes_nothing(
    api: AsyncApi, project: Project, server: Server, lake: Lake
) -> None:
    project.log("a", steps(0, 5))
    await lake.export(api)
    before = lake.table().metadata.current_snapshot_id
    project.log("b", steps(0, 5))

    def breaks_off() -> bool:
        if server.pages_asked[1:]:
            raise httpx.ReadError("connection reset")
        return False

    server.is_gone = breaks_off
    with pytest.raises(Exception, match="connection"):
        await lake.export(api)
    assert lake.table().metadata.current_snapshot_id == before
    server.is_gone = lambda: False
    assert (await lake.export(api)).rows == 5


async def test_an_export_that_is_stopped_commits_what_is_finished(
    api: AsyncApi, project: Project, server: Server, lake: Lake
) -> None:
    server.forgets = {"x"}  # W&B does not say before that the column becomes wider
    project.log("a", steps(0, 5, x=1))
    project.log("b", steps(0, 5, x=1.5))

    class Stopped(Exception):
        pass

    def on_event(event: object) -> None:
        if isinstance(event, RunFinished) and event.run == "b":
            raise Stopped

    with pytest.raises(Stopped):
        await lake.export(api, on_event=on_event)
    assert lake.places() == [(run, step) for run in "ab" for step in range(5)]
    project.log("c", steps(0, 5, x=2))
    assert (await lake.export(api)).rows == 5
    assert set(lake.table().scan().to_arrow()["x"].to_pylist()) == {1.0, 1.5, 2.0}


async def test_a_long_export_commits_in_between(
    api: AsyncApi, project: Project, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        project.log(name, steps(0, 5), finish=False)
    await lake.export(api)
    before = len(lake.table().metadata.snapshots)
    for name in "abc":
        project.rewind(name, 2)
        project.log(name, steps(3, 9, **{f"late_{name}": 1.5}))
    monkeypatch.setattr(iceberg, "_COMMIT_SECONDS", 0.0)
    monkeypatch.setattr(iceberg, "_FILE_ROWS", 1)
    assert (await lake.export(api)).failed == ()
    # Each replaced run is a snapshot without its rows, and one with them.
    assert len(lake.table().metadata.snapshots) >= before + 3
    assert lake.places() == [(run, step) for run in "abc" for step in range(9)]
    assert (await lake.export(api)).requests == 1


async def test_a_run_that_cannot_be_read_leaves_nothing_behind(
    api: AsyncApi, project: Project, server: Server, lake: Lake
) -> None:
    project.log("a", steps(0, 5), finish=False)
    project.log("b", steps(0, 5))
    server.poisoned = {"a"}
    assert [failure.run for failure in (await lake.export(api)).failed] == ["a"]
    assert {run for run, _ in lake.places()} == {"b"}
    server.poisoned = set()
    assert (await lake.export(api)).rows == 5


async def test_the_table_of_runs_is_replaced(api: AsyncApi, project: Project, lake: Lake) -> None:
    project.log("a", steps(0, 2))
    project.configure("a", {"lr": 0.5})
    for _ in range(2):
        await lake.export(api, "runs", what=["runs"])
    rows = lake.table("runs").scan().to_arrow().to_pylist()
    assert [(row["run_id"], row["config.lr"]) for row in rows] == [("a", 0.5)]


def test_a_table_without_a_namespace_is_refused() -> None:
    with pytest.raises(UsageError, match=r"must be like 'namespace.table'"):
        IcebergSink("history")
