"""Long runs are compacted and rewound in several transactions, and nobody sees a part of that."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass

import pytest

from aiowandb_server import Store
from aiowandb_server.errors import RequestError
from aiowandb_server.store import deleting, rewinding
from aiowandb_server.store.history import Sampled
from aiowandb_server.store.records import ProjectRow, RunRow
from aiowandb_server.store.stream import Chunk, StreamUpdate
from tests.server.transactions import KilledError, Writes

FEW = 10
STEPS = 400


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LEAST_ROWS", "MOST_ROWS"):
        monkeypatch.setattr(deleting, name, FEW)


@dataclass
class Story:
    """What happens to a run: the same each time, for one seed."""

    store: Store
    project: ProjectRow
    seed: int

    def tell(self, name: str) -> RunRow:
        chance = random.Random(self.seed)
        run, _ = self.store.runs.upsert(self.project, name)
        for _ in range(4):
            self._append(run, chance, chance.choice([3, 40, 300]))
            if chance.random() < 0.4:
                self.store.compaction.compact(run.id)
            if chance.random() < 0.4:
                known = self._count(run)
                again = [json.dumps({"_step": chance.randrange(STEPS), "again": 1})]
                self.store.history.append(run, again, offset=chance.randrange(known))
        return run

    def _append(self, run: RunRow, chance: random.Random, count: int) -> None:
        first = chance.randrange(STEPS)
        steps = [first + n for n in range(count)]
        if chance.random() < 0.3:
            chance.shuffle(steps)
        lines = [json.dumps({"_step": step, "x": chance.random()}) for step in steps]
        self.store.history.append(run, lines)

    def _count(self, run: RunRow) -> int:
        found = self.store.runs.by_id(run.id)
        assert found
        return found.history_lines


def seen(store: Store, run: RunRow) -> list[object]:
    """All that readers can ask for."""
    found = store.runs.by_id(run.id)
    assert found
    return [
        found.history_lines,
        store.history.window(found, -10, 10_000, 10_000),
        store.history.window(found, 50, 300, 20),
        json.loads(store.history.keys(run.id))["lastStep"],
        store.history.sampled(found, Sampled(("_step", "x"), 30)),
    ]


def lines_of(store: Store, run: RunRow) -> int:
    with store._database.read() as connection:
        (count,) = connection.execute(
            "SELECT (SELECT count(*) FROM line WHERE run_id = ?1)"
            " + (SELECT count(*) FROM line_block WHERE run_id = ?1)"
            " + (SELECT count(*) FROM gone_lines WHERE run_id = ?1)",
            (run.id,),
        ).fetchone()
    return int(count)


@pytest.mark.parametrize(
    "seed", [*range(4), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(4, 12))]
)
def test_a_long_run_is_rewound_to_the_same_as_a_short_one(
    store: Store, project: ProjectRow, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    story = Story(store, project, seed)
    first, second = story.tell("first"), story.tell("second")
    assert seen(store, first) == seen(store, second)
    step = random.Random(seed).randrange(-1, STEPS)
    store.history.rewind(first, step)
    with monkeypatch.context() as patch:
        patch.setattr(rewinding, "LINES_AT_ONCE", -1)
        writes = Writes(patch)
        store.history.rewind(second, step)
        assert max(writes.changes) <= 2 * FEW
    assert seen(store, first) == seen(store, second)
    assert lines_of(store, second) == 0
    for run in (first, second):
        store.history.append(run, [json.dumps({"_step": step + n, "x": n}) for n in range(300)])
        store.compaction.compact(run.id)
    assert seen(store, first) == seen(store, second)


@pytest.mark.parametrize("killed_before", [1, 2, 3])
def test_a_kill_while_lines_are_deleted_is_not_seen(
    store: Store, project: ProjectRow, monkeypatch: pytest.MonkeyPatch, killed_before: int
) -> None:
    monkeypatch.setattr(rewinding, "LINES_AT_ONCE", 5)
    story = Story(store, project, 3)
    first, second = story.tell("first"), story.tell("second")
    store.history.rewind(first, 200)
    with monkeypatch.context() as patch:
        Writes(patch).kill_before(killed_before)
        with pytest.raises(KilledError):
            store.history.rewind(second, 200)
    assert lines_of(store, second)
    assert seen(store, first) == seen(store, second)
    if killed_before == 1:
        Store.open(store.folder).close()
        assert lines_of(store, second) == 0
    rows = ['{"_step": 201, "x": 1}']
    for run in (first, second):
        found = store.runs.by_id(run.id)
        assert found
        store.stream.apply(run, StreamUpdate({"history": Chunk(found.history_lines, rows)}))
    assert seen(store, first) == seen(store, second)
    assert lines_of(store, second) == lines_of(store, first) == 1


def test_a_run_is_compacted_in_parts(
    store: Store, run: RunRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.history.append(run, [json.dumps({"_step": n ^ 1}) for n in range(100)])
    before = seen(store, run)
    writes = Writes(monkeypatch)
    looks: list[bool] = []
    writes.before = lambda _: looks.append(seen(store, run) == before)
    store.compaction.compact(run.id)
    assert max(writes.changes) <= FEW
    assert len(looks) > 100 // FEW
    assert all(looks)
    assert lines_of(store, run) == 0


def test_lines_that_are_sent_again_wait_for_those_that_are_being_deleted(
    store: Store, run: RunRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.history.append(run, [json.dumps({"_step": n ^ 1}) for n in range(100)])
    with monkeypatch.context() as patch:
        Writes(patch).kill_before(3)
        with pytest.raises(KilledError):
            store.compaction.compact(run.id)
    again = '{"_step": 7, "again": 1}'
    store.stream.apply(run, StreamUpdate({"history": Chunk(7, [again])}))
    found = store.history.window(run, -10, 1000, 1000)
    assert len(found) == 100
    assert again in found


def test_a_run_that_is_written_to_all_the_time_is_not_rewound(
    store: Store, run: RunRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rewinding, "LINES_AT_ONCE", 0)
    store.history.append(run, ['{"_step": 1}', '{"_step": 2}'])
    writes = Writes(monkeypatch)
    rewinding_now = [True]

    def append(_: int) -> None:
        if rewinding_now.pop():
            store.history.append(run, ['{"_step": 3}'])
        rewinding_now.append(True)

    def guarded(number: int) -> None:
        writes.before = lambda _: None
        append(number)
        writes.before = guarded

    writes.before = guarded
    with pytest.raises(RequestError, match="rows are written"):
        store.history.rewind(run, 1)
    writes.before = lambda _: None
    store.history.rewind(run, 1)
    assert store.history.window(run, 0, 10, 10) == ['{"_step": 1}']
