"""Transactions that every client makes often do not read what there is more and more of."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator

import pytest

from aiowandb_server import Store
from aiowandb_server.store.artifact_records import NewVersion
from aiowandb_server.store.records import ProjectRow
from aiowandb_server.store.sweeps import SweepChanges
from tests.server.transactions import Writes

SWEEP = "method: random\nparameters: {a: {value: 1}}"
# Searches by the beginning of an index only, where there may be many rows.
TOO_FEW_COLUMNS = re.compile(
    r"(artifact USING (COVERING )?INDEX \w+ \(collection_id=\?\))"
    r"|(artifact_client .*\(client_id=\? AND artifact_id=\?\))"
    r"|(INDEX run_by_sweep)"
    r"|(^SCAN (?!json_each|\d))"
)


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> Writes:
    return Writes(monkeypatch)


def plans(store: Store, writes: Writes) -> Iterator[str]:
    with store._database.read() as connection:
        for statement in writes.statements:
            if statement.lstrip().startswith(("SELECT", "INSERT", "UPDATE", "DELETE")):
                # A condition that is known to be false is planned otherwise than a parameter.
                text = statement.replace("AND 0", "AND 1")
                try:
                    rows = connection.execute(f"EXPLAIN QUERY PLAN {text}").fetchall()
                except sqlite3.OperationalError:
                    continue
                yield from (row["detail"] for row in rows)


def test_a_new_version(store: Store, project: ProjectRow, writes: Writes) -> None:
    collection = store.collections.ensure(project, "data", "dataset")
    writes.statements.clear()
    store.artifacts.create(collection, NewVersion("d", client_id="c", distributed_id="x"))
    found = list(plans(store, writes))
    assert any("artifact_by_distributed_id" in plan for plan in found)
    assert [plan for plan in found if TOO_FEW_COLUMNS.search(plan)] == []


def test_a_heartbeat_of_an_agent(store: Store, project: ProjectRow, writes: Writes) -> None:
    sweep = store.sweeps.create(project, SweepChanges(config=SWEEP))
    agent = store.sweeps.add_agent(sweep, "host")
    writes.statements.clear()
    assert store.sweeps.heartbeat(agent, {})
    found = list(plans(store, writes))
    assert any("run_pending" in plan for plan in found)
    assert [plan for plan in found if TOO_FEW_COLUMNS.search(plan)] == []


def test_a_deleted_version(store: Store, project: ProjectRow, writes: Writes) -> None:
    collection = store.collections.ensure(project, "data", "dataset")
    version = store.artifacts.create(collection, NewVersion("d"))
    store.artifacts.commit(version.id, size=0, file_count=0)
    writes.statements.clear()
    store.artifacts.delete(version, with_aliases=True)
    found = list(plans(store, writes))
    assert any("alias_by_membership" in plan for plan in found)
    assert [plan for plan in found if TOO_FEW_COLUMNS.search(plan)] == []
