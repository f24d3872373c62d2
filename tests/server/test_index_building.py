"""Keys are indexed and retired in several transactions, between which others write."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aiowandb_server import RunChanges, Store
from aiowandb_server.store import index_building, run_index, run_values
from aiowandb_server.store.records import ProjectRow
from tests.server.transactions import KilledError, Writes

RUNS = 25
AT_ONCE = 10


@pytest.fixture
def large(store: Store, monkeypatch: pytest.MonkeyPatch) -> ProjectRow:
    """A project whose keys are indexed, in small parts."""
    monkeypatch.setattr(run_index, "_MIN_RUNS", 1)
    monkeypatch.setattr(index_building, "_RUNS_AT_ONCE", AT_ONCE)
    monkeypatch.setattr(index_building, "_VALUES_AT_ONCE", AT_ONCE)
    monkeypatch.setattr(index_building, "MAX_KEYS_A_PROJECT", 2)
    project, _ = store.projects.ensure("local", "large")
    with store._database.write() as connection:
        connection.executemany(
            "INSERT INTO run (project_id, name, display_name, state, created_at, heartbeat_at,"
            " config) VALUES (?, ?, '', 'finished', 1, 1, ?)",
            [(project.id, f"r{n}", config(lr=1, a=1, b=1)) for n in range(RUNS)],
        )
    found = store.projects.get("local", "large")
    assert found is not None
    return found


def config(**values: Any) -> str:
    return json.dumps({name: {"value": value} for name, value in values.items()})


def indexed(store: Store) -> tuple[int, int, int]:
    """How many values are in the index, of how many keys, and how many of these are complete."""
    with store._database.read() as connection:
        (values,) = connection.execute("SELECT count(*) FROM run_value").fetchone()
        (keys, complete) = connection.execute(
            "SELECT count(*), ifnull(sum(built_to IS NULL), 0) FROM indexed_key"
        ).fetchone()
    return values, keys, complete


def test_no_transaction_indexes_more_than_so_many_runs(
    store: Store, large: ProjectRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = Writes(monkeypatch)
    assert store.runs.count(large, {"config.lr": 1}) == RUNS
    assert indexed(store) == (RUNS, 1, 1)
    assert max(writes.changes) <= AT_ONCE + 1


def test_a_key_whose_indexing_was_killed_is_finished_when_it_is_used_again(
    store: Store, large: ProjectRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = Writes(monkeypatch)

    writes.kill_before(2)
    with pytest.raises(KilledError):
        store.runs.count(large, {"config.lr": 1})
    assert indexed(store) == (AT_ONCE, 1, 0)
    monkeypatch.undo()
    monkeypatch.setattr(run_index, "_MIN_RUNS", 1)
    assert store.runs.count(large, {"config.lr": 1}) == RUNS
    assert indexed(store) == (RUNS, 1, 1)


def test_runs_that_change_while_their_key_is_indexed_have_their_new_values(
    store: Store, large: ProjectRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What is indexed was read before: this happens between reading and writing.
    writes = Writes(monkeypatch)

    def change(number: int) -> None:
        if number == 1:
            writes.before = lambda _: None
            changed = [store.runs.get(large, f"r{n}") for n in range(4)]
            first, second, third, fourth = (run.id for run in changed if run)
            store.runs.change(first, RunChanges(config=config(lr=2)))
            store.runs.change(second, RunChanges(config=config(other=2)))
            store.runs.delete(third)
            store.runs.change(fourth, RunChanges(config=config(lr=[2])))
            store.runs.upsert(large, "new", RunChanges(config=config(lr=2)))

    writes.before = change
    store.runs.count(large, {"config.lr": 1})
    assert indexed(store) == (RUNS - 2 + 1, 1, 1)
    last = store.runs.get(large, f"r{3}")
    assert last
    store.runs.change(last.id, RunChanges(config=config(lr=2)))
    assert store.runs.count(large, {"config.lr": 2}) == 3
    assert store.runs.count(large, {"config.lr": 1}) == RUNS - 4


def test_the_values_of_a_key_that_is_used_no_more_are_deleted_in_parts(
    store: Store, large: ProjectRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("lr", "a"):
        store.runs.count(large, {f"config.{name}": 1})
    writes = Writes(monkeypatch)
    writes.kill_before(6)
    with pytest.raises(KilledError):
        store.runs.count(large, {"config.b": 1})
    values, keys, _ = indexed(store)
    assert (values, keys) == (3 * RUNS - AT_ONCE, 3)
    writes.before = lambda _: None
    store.runs.count(large, {"config.lr": 1})
    assert store.runs.count(large, {"config.lr": 1}) == RUNS
    assert indexed(store) == (2 * RUNS, 2, 2)
    assert max(writes.changes) <= AT_ONCE + 1


def test_a_key_with_values_that_are_not_indexed_pushes_no_other_out(
    store: Store, large: ProjectRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = store.runs.get(large, "r0")
    assert run
    store.runs.change(run.id, RunChanges(config=config(lr=[1], a=1)))
    for name in ("lr", "a"):
        store.runs.count(large, {f"config.{name}": 1})
    writes = Writes(monkeypatch)
    assert store.runs.count(large, {"config.lr": 1}) == RUNS
    assert writes.changes == []


def test_a_large_document_is_searched_before_the_transaction_that_stores_it(
    store: Store, large: ProjectRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_values, "_SMALL", 1_000)
    for name in ("lr", "a"):
        store.runs.count(large, {f"config.{name}": 1})
    writes = Writes(monkeypatch)
    values = config(lr=3, **{f"k{n}": n for n in range(1_000)})
    store.runs.upsert(large, "big", RunChanges(config=values))
    assert len(writes.changes) == 1
    assert not [text for text in writes.statements if "json_each" in text and "k999" in text]
    assert store.runs.count(large, {"config.lr": 3}) == 1


def test_what_does_not_change_is_not_written_again(
    store: Store, large: ProjectRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = store.runs.get(large, "r0")
    assert run
    store.runs.count(large, {"config.lr": 1})
    writes = Writes(monkeypatch)
    store.runs.change(run.id, RunChanges(config=config(lr=1, a=5)))
    assert writes.changes == [1]
