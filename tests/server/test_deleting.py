"""What is large is deleted in several transactions, and nobody sees a part of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aiowandb_server import RunChanges, Store
from aiowandb_server.graphql.scalars import encode_id
from aiowandb_server.store import deleting, run_index
from aiowandb_server.store.artifact_records import ArtifactRow, NewVersion
from aiowandb_server.store.records import ProjectRow, RunRow
from aiowandb_server.store.stream import Chunk, StreamUpdate
from aiowandb_server.store.sweeps import SweepChanges
from tests.server.conftest import Client
from tests.server.transactions import KilledError, Writes

FEW = 10
ROWS = [json.dumps({"_step": n ^ 1}) for n in range(33)]  # in no order: as lines, not as a block
BLOCK = [json.dumps({"_step": 100 + n}) for n in range(300)]
LARGE = StreamUpdate(
    {"history": Chunk(0, [*ROWS, "x"]), "console": Chunk(0, ["a line"] * 25)},
)
# Tables whose rows are of users, or of the store.
KEPT = ("entity", "user", "member", "api_key", "default_entity", "retired_file", "content")


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, number in {"SMALL": FEW, "LEAST_ROWS": FEW, "MOST_ROWS": FEW}.items():
        monkeypatch.setattr(deleting, name, number)
    monkeypatch.setattr(deleting, "_OWNERS_AT_ONCE", 4)
    monkeypatch.setattr(run_index, "_MIN_RUNS", 1)


def rows_left(store: Store) -> dict[str, int]:
    """The number of rows in each table that is not empty."""
    with store._database.read() as connection:
        tables = connection.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT GLOB 'sqlite_*'"
        ).fetchall()
        counts = {
            table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for (table,) in tables
        }
    return {table: count for table, count in counts.items() if count and table not in KEPT}


def fill(store: Store, project: ProjectRow, name: str) -> RunRow:
    """A run with many rows in each table."""
    run, _ = store.runs.upsert(project, name, RunChanges(config='{"lr": {"value": 1}}'))
    store.stream.apply(run, LARGE)
    store.history.append(run, ['{"_step": 5, "again": 1}'], offset=4)
    store.history.append(run, BLOCK)
    store.stream.apply(run, StreamUpdate({"console": Chunk(0, ["x"] * 20)}, writer="one of two"))
    for number in range(15):
        store.files.add(run, f"f{number}", b"")
        store.alerts.add(run, "title", "text")
    return run


def version(store: Store, project: ProjectRow, run: RunRow, number: int) -> ArtifactRow:
    collection = store.collections.ensure(project, "data", "dataset")
    new = NewVersion(f"digest {number}", run_id=run.id, tags=("t",), aliases=(f"a{number}",))
    made = store.artifacts.create(collection, new)
    contents = {f"f{n}": {"digest": "d", "ref": "s3://x"} for n in range(15)}
    manifest = store.manifests.announce(made.id, kind="FULL", name="m", digest="", base_id=None)
    store.manifests.upload(manifest, store.blobs.add(json.dumps({"contents": contents}).encode()))
    size, count = store.manifests.settle(made, 1)
    return store.artifacts.commit(made.id, size=size, file_count=count)


def fill_project(store: Store, project: ProjectRow) -> list[ArtifactRow]:
    """Several runs, versions, sweeps and reports, an indexed key."""
    runs = [fill(store, project, f"r{number}") for number in range(3)]
    versions = [version(store, project, runs[0], number) for number in range(6)]
    for number in range(12):
        sweep = store.sweeps.create(
            project, SweepChanges(config="method: random\nparameters: {a: {value: 1}}")
        )
        store.sweeps.heartbeat(store.sweeps.add_agent(sweep, "host"), {})
        store.reports.add(project, f"report {number}")
        store.runs.upsert(project, f"small {number}")
    found = store.projects.get("local", "demo")
    assert found
    store.runs.count(found, {"config.lr": 1})
    return versions


def test_a_run_with_many_rows(
    store: Store, project: ProjectRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = fill(store, project, "large")
    version(store, project, run, 1)
    before = store.runs.count(project)
    writes = Writes(monkeypatch)
    seen: list[tuple[object, ...]] = []
    writes.before = lambda _: seen.append(
        (store.runs.by_id(run.id), store.runs.get(project, "large"), store.runs.count(project))
    )
    assert store.runs.delete(run.id)
    assert max(writes.changes) <= 2 * FEW, "with files that are no longer needed"
    assert seen[1:] == [(None, None, before - 1)] * (len(seen) - 1)
    assert not {"run", "line", "line_block", "file", "alert"} & rows_left(store).keys()
    assert rows_left(store)["project"] == 1
    assert not store.runs.delete(run.id)


def test_a_run_with_few_rows_is_deleted_at_once(
    store: Store, run: RunRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.history.append(run, ROWS[:FEW])
    writes = Writes(monkeypatch)
    assert store.runs.delete(run.id)
    assert len(writes.changes) == 1
    assert "line" not in rows_left(store)


def test_a_project_with_all_that_is_in_it(
    store: Store, project: ProjectRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, _ = store.projects.ensure("local", "kept")
    other, _ = store.runs.upsert(kept, "other")
    store.history.append(other, ROWS)
    portfolio = store.collections.ensure(kept, "best", "dataset", "PORTFOLIO")
    expected = rows_left(store) | {"project": 1}
    for linked in fill_project(store, project):
        store.artifacts.link(linked, portfolio, ["linked"])
        store.artifacts.use(other, linked)
    writes = Writes(monkeypatch)
    seen: list[object] = []
    writes.before = lambda _: seen.append(store.projects.get("local", "demo"))
    store.projects.delete(project.id)
    assert seen[1:] == [None] * (len(seen) - 1)
    assert max(writes.changes) <= 2 * FEW
    assert rows_left(store) == expected | {"version_count": 1}
    assert store.runs.get(kept, "other")


@pytest.mark.parametrize("killed_before", [1, 5, 25, 60])
def test_what_was_being_deleted_is_deleted_when_the_store_is_opened_again(
    store: Store, project: ProjectRow, monkeypatch: pytest.MonkeyPatch, killed_before: int
) -> None:
    fill_project(store, project)
    with monkeypatch.context() as patch:
        Writes(patch).kill_before(killed_before)
        with pytest.raises(KilledError):
            store.projects.delete(project.id)
    assert store.projects.page("local", first=10).items == []
    again, inserted = store.projects.ensure("local", "demo")
    assert inserted, "its name is free at once"
    Store.open(store.folder).close()
    assert rows_left(store) == {"project": 1}
    assert store.projects.get("local", "demo") == again


@pytest.mark.anyio
async def test_nothing_in_it_is_found_while_it_is_deleted(
    client: Client, store: Store, project: ProjectRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = fill_project(store, project)
    found = store.collections.get(project.id, "data")
    run = store.runs.get(project, "r0")
    (sweep, *_) = store.sweeps.page(project, first=1).items
    assert found
    assert run
    with monkeypatch.context() as patch:
        Writes(patch).kill_before(1)
        with pytest.raises(KilledError):
            store.projects.delete(project.id)
    ids = {
        "artifact": encode_id("Artifact", versions[0].id),
        "artifactCollection": encode_id("ArtifactCollection", found.id),
    }
    for query, text in ids.items():
        assert await client.ask(f'{{{query}(id:"{text}"){{id}}}}') == {query: None}
    for name in ("demo", f"/{project.id}"):
        assert await client.ask(f'{{project(name:"{name}"){{id}}}}') == {"project": None}
    for mutation, kind, row in (
        ("stopRun", "Run", run.id),
        ("deleteModel", "Project", project.id),
        ("upsertSweep", "Sweep", sweep.id),
    ):
        selected = "sweep{id}" if kind == "Sweep" else "success"
        status, _ = await client.refusal(
            f'mutation{{{mutation}(input:{{id:"{encode_id(kind, row)}"}}){{{selected}}}}}'
        )
        assert status == 404, mutation


def test_a_collection_with_all_its_versions(
    store: Store, project: ProjectRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = store.runs.upsert(project, "r")
    for number in range(6):
        version(store, project, run, number)
    found = store.collections.get(project.id, "data")
    assert found
    writes = Writes(monkeypatch)
    store.collections.delete(found.id)
    assert max(writes.changes) <= 2 * FEW
    assert rows_left(store) == {"project": 1, "run": 1, "artifact_type": 1}


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("what", "asked"),
    [
        ("run", 'run(name: "r1") { project { name } }'),
        ("artifact", 'artifactCollection(name: "data") { defaultArtifactType { name } }'),
    ],
)
async def test_what_is_deleted_while_it_is_read_is_not_found(
    client: Client,
    store: Store,
    project: ProjectRow,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
    asked: str,
) -> None:
    store.runs.upsert(project, "r1")
    store.collections.ensure(project, "data", "dataset")
    for table in (store.runs, store.collections):

        def get(*place: object, found: Any = table.get) -> Any:
            row = found(*place)
            store.projects.delete(project.id)
            return row

        monkeypatch.setattr(table, "get", get)
    refused = await client.refusal(f'{{ project(name: "demo") {{ {asked} }} }}')
    assert refused == (404, f"the project of this {what} has been deleted")
