"""Large runs and projects are deleted in several transactions, so that others can write."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from aiowandb_server import Store
from aiowandb_server.store import deleting
from aiowandb_server.store.database import Database
from aiowandb_server.store.records import ProjectRow, RunRow
from aiowandb_server.store.stream import Chunk, StreamUpdate

FEW = 10
ROWS = [json.dumps({"_step": n ^ 1}) for n in range(33)]  # in no order: as lines, not as a block
LARGE = StreamUpdate(
    {"history": Chunk(0, [*ROWS, "x"]), "console": Chunk(0, ["a line"] * 25)},
)


@pytest.fixture
def transactions(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each transaction has deleted or changed, but for what follows from these."""
    monkeypatch.setattr(deleting, "LINES_AT_ONCE", FEW)
    monkeypatch.setattr(deleting, "_RUNS_AT_ONCE", 3)
    found: list[int] = []
    write = Database.write

    @contextmanager
    def counted(self: Database, **given: Any) -> Iterator[Any]:
        with write(self, **given) as connection:
            before = connection.total_changes
            yield connection
            found.append(connection.total_changes - before)

    monkeypatch.setattr(Database, "write", counted)
    return found


def lines_left(store: Store) -> int:
    with store._database.read() as connection:
        counts = [
            connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in deleting._TABLES
        ]
    return sum(counts)


def test_a_run_with_many_lines(store: Store, run: RunRow, transactions: list[int]) -> None:
    store.stream.apply(run, LARGE)
    store.history.append(run, ['{"_step": 5, "again": 1}'], offset=4)
    transactions.clear()
    assert store.runs.delete(run.id)
    assert len(transactions) == 3 + 3 + 1 + 1 + 1
    assert max(transactions) <= FEW
    assert lines_left(store) == 0
    assert not store.runs.delete(run.id)


def test_a_run_with_few_lines_is_deleted_at_once(
    store: Store, run: RunRow, transactions: list[int]
) -> None:
    store.history.append(run, ROWS[:FEW])
    transactions.clear()
    assert store.runs.delete(run.id)
    assert len(transactions) == 1
    assert lines_left(store) == 0


@pytest.mark.parametrize(("runs", "is_large"), [(2, False), (2, True), (8, False)])
def test_a_project_with_all_that_is_in_it(
    store: Store, project: ProjectRow, transactions: list[int], runs: int, is_large: bool
) -> None:
    kept, _ = store.projects.ensure("local", "kept")
    other, _ = store.runs.upsert(kept, "other")
    store.history.append(other, ROWS)
    for number in range(runs):
        made, _ = store.runs.upsert(project, f"r{number}")
        store.stream.apply(made, LARGE if is_large and number else StreamUpdate())
    transactions.clear()
    store.projects.delete(project.id)
    assert (len(transactions) == 1) == (runs == 2 and not is_large)
    assert store.projects.by_id(project.id) is None
    assert lines_left(store) == len(ROWS)
    assert store.runs.get(kept, "other")
