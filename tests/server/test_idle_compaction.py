"""Finished runs are compacted when nothing is written, and at the latest after a minute."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from aiowandb_server import RunChanges, Store, idle_compaction
from aiowandb_server.budget import Budget
from aiowandb_server.idle_compaction import (
    MAX_WAIT_S,
    QUIET_S,
    Backlog,
    EndedRun,
    IdleCompaction,
)
from aiowandb_server.store.records import RunRow
from tests.server.conftest import Client, Clock

# Only a thread that hangs takes so long.
HANGING_S = 60


def taken(backlog: Backlog) -> int | None:
    found = backlog.take()
    return found.id if isinstance(found, EndedRun) else None


def test_a_run_waits_until_nothing_is_written_for_a_moment(run: RunRow, clock: Clock) -> None:
    backlog = Backlog(clock)
    backlog.write_begins()
    backlog.add(run, 1)
    clock.now += 2 * QUIET_S
    assert taken(backlog) is None, "a request is under way"
    backlog.write_ends()
    assert backlog.take() == QUIET_S
    clock.now += QUIET_S
    assert taken(backlog) == run.id
    assert not backlog


def test_a_run_waits_no_longer_than_a_minute_while_others_are_written(
    run: RunRow, clock: Clock
) -> None:
    backlog = Backlog(clock)
    backlog.add(run, 1)
    writes = 0
    while taken(backlog) is None:
        backlog.write_begins()
        clock.now += QUIET_S / 2
        backlog.write_ends()
        writes += 1
    assert writes == MAX_WAIT_S / (QUIET_S / 2)


def test_a_run_that_ends_twice_waits_once(run: RunRow, clock: Clock) -> None:
    backlog = Backlog(clock)
    backlog.add(run, 1)
    backlog.add(run, 1)
    assert len(backlog) == 1


@pytest.mark.anyio
async def test_a_run_that_ended_over_http_is_compacted(
    client: Client, store: Store, run: RunRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idle_compaction, "QUIET_S", 0.0)
    compact, done = store.compaction.compact, threading.Event()

    def compact_and_say(run_id: int) -> None:
        compact(run_id)
        done.set()

    monkeypatch.setattr(store.compaction, "compact", compact_and_say)
    chunk = {"offset": 0, "content": ['{"_step": 0}']}
    body = {"files": {"wandb-history.jsonl": chunk}, "complete": True, "exitcode": 0}
    assert (await client.stream("local/demo/r1", body)).status_code == 200
    assert done.wait(HANGING_S)
    with store._database.read() as connection:
        assert connection.execute("SELECT count(*) FROM segment").fetchone()[0] == 1


def test_a_run_that_cannot_be_compacted_does_not_stop_the_others(
    store: Store, run: RunRow, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(idle_compaction, "QUIET_S", 0.0)
    project = store.projects.get("local", "demo")
    assert project is not None
    other, _ = store.runs.upsert(project, "r2", RunChanges())
    done = threading.Event()

    def compact(run_id: int) -> None:
        if run_id == run.id:
            raise ArithmeticError("nobody knows why")
        done.set()

    compaction = IdleCompaction(compact, Budget())
    compaction.add(run, 1)
    compaction.add(other, 1)
    assert done.wait(HANGING_S)
    compaction.close()
    assert "compacting local/demo/r1 failed" in caplog.text


def test_a_store_that_is_closed_leaves_waiting_runs_to_their_readers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idle_compaction, "QUIET_S", HANGING_S)
    store = Store.open(tmp_path)
    compacted: list[int] = []
    compaction = IdleCompaction(compacted.append, Budget())
    store.before_close(compaction.close)
    project, _ = store.projects.ensure("local", "demo")
    run, _ = store.runs.upsert(project, "r1", RunChanges())
    compaction.add(run, 1)
    store.close()
    assert compacted == []
    assert compaction._thread is None
