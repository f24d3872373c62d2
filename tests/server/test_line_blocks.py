"""Many new lines at once are stored in one piece, and are read as if each had come alone."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence

import pytest

from aiowandb_server import Store
from aiowandb_server.store import line_blocks
from aiowandb_server.store.history import Sampled
from aiowandb_server.store.records import RunRow

FEW = 4


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_blocks, "LEAST_LINES", FEW)


@pytest.fixture
def other(store: Store, run: RunRow) -> RunRow:
    """A run whose lines come one by one."""
    project = store.projects.get(run.entity, run.project)
    assert project
    return store.runs.upsert(project, "other")[0]


def lines(steps: Sequence[int], **values: object) -> list[str]:
    return [json.dumps({"_step": step, "loss": step / 8} | values) for step in steps]


def put(store: Store, run: RunRow, other: RunRow, offset: int, new: list[str]) -> None:
    store.history.append(run, new, offset=offset)
    for number, line in enumerate(new, start=offset):
        store.history.append(other, [line], offset=number)


def counts(store: Store, run: RunRow) -> tuple[int, int]:
    """The blocks and the lines of the history that are in the database."""
    with store._database.read() as connection:
        found = [
            connection.execute(f"SELECT count(*) FROM {table} WHERE run_id = ?", (run.id,))
            for table in ("line_block", "line")
        ]
        blocks, rows = (int(cursor.fetchone()[0]) for cursor in found)
    return blocks, rows


def fresh(store: Store, run: RunRow) -> RunRow:
    found = store.runs.by_id(run.id)
    assert found
    return found


def everything(store: Store, run: RunRow) -> list[object]:
    """All that can be read of a history."""
    run = fresh(store, run)
    history = store.history
    return [
        run.history_lines,
        history.window(run, -100, 1000, 10_000),
        history.window(run, 3, 17, 10_000),
        history.window(run, -100, 1000, 5),
        history.sampled(run, Sampled(("_step", "loss"), 7)),
        history.tail(run, "history"),
        json.loads(history.keys(run.id)),
        history.replaced(run),
    ]


def test_many_lines_at_once_are_one_block_and_few_are_not(store: Store, run: RunRow) -> None:
    store.history.append(run, lines(range(10)))
    store.history.append(run, lines(range(10, 13)))
    assert counts(store, run) == (1, 3)


def test_lines_that_fall_or_are_no_objects_are_not_a_block(store: Store, run: RunRow) -> None:
    store.history.append(run, lines([4, 3, 2, 1, 0]))
    store.history.append(run, [*lines(range(5, 10)), "no object"])
    assert counts(store, run) == (0, 10)


@pytest.mark.parametrize("seed", range(4))
def test_a_block_is_read_like_lines_that_came_alone(
    store: Store, run: RunRow, other: RunRow, seed: int
) -> None:
    chance = random.Random(seed)
    end = step = 0
    for _ in range(6):
        size = chance.choice([1, 3, 6, 12])
        step += chance.choice([0, 1, -3, 5])
        offset = max(0, end - chance.choice([0, 0, 0, 2, 7]))
        put(store, run, other, offset, lines(range(step, step + size), turn=chance.random()))
        end, step = max(end, offset + size), step + size
        if chance.random() < 0.2:
            store.compaction.compact(run.id)
            store.compaction.compact(other.id)
    assert everything(store, run) == everything(store, other)
    for each in (run, other):
        store.history.rewind(fresh(store, each), step // 2)
    assert everything(store, run) == everything(store, other)
    for each in (run, other):
        store.finish(each)
        store.compaction.compact(each.id)
    assert everything(store, run) == everything(store, other)
    assert counts(store, run) == (0, 0)


def test_a_line_without_a_step_has_its_number_in_a_block_too(
    store: Store, run: RunRow, other: RunRow
) -> None:
    put(store, run, other, 0, ['{"loss":0.5}'] * 6)
    assert counts(store, run) == (1, 0)
    assert everything(store, run) == everything(store, other)


def test_overwriting_a_line_unpacks_its_block_and_keeps_what_was_there(
    store: Store, run: RunRow
) -> None:
    store.history.append(run, lines(range(6)))
    store.history.append(run, lines(range(6, 12)))
    store.history.append(run, lines([8], turn=1), offset=8)
    assert counts(store, run) == (1, 6)
    assert store.history.replaced(run) == lines([8])
    found = [json.loads(line).get("turn") for line in store.history.window(run, 0, 100, 100)]
    assert found == [None] * 8 + [1] + [None] * 3


def test_what_is_before_a_changed_line_or_the_end_of_a_rewind_stays_in_blocks(
    store: Store, run: RunRow, other: RunRow
) -> None:
    for first in range(0, 30, 6):
        put(store, run, other, first, lines(range(first, first + 6)))
    put(store, run, other, 14, lines([14], turn=1))
    assert counts(store, run) == (4, 6)
    assert everything(store, run) == everything(store, other)
    for each in (run, other):
        store.history.rewind(fresh(store, each), 20)
    assert counts(store, run) == (2, 9)
    assert everything(store, run) == everything(store, other)


def test_a_deleted_run_leaves_no_block(store: Store, run: RunRow) -> None:
    store.history.append(run, lines(range(6)))
    store.runs.delete(run.id)
    assert counts(store, run) == (0, 0)
