"""A large request of the file stream is stored in several transactions: others write meanwhile."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from aiowandb_server import Store
from aiowandb_server.errors import RequestError
from aiowandb_server.store import lines
from aiowandb_server.store import stream as stream_module
from aiowandb_server.store.appenders import AppendClaim
from aiowandb_server.store.database import Database, _Turns
from aiowandb_server.store.lines import CheckedLines
from aiowandb_server.store.records import RunRow
from aiowandb_server.store.stream import Chunk, StreamUpdate

FEW = 10
ROWS = [json.dumps({"_step": n, f"k{n % 3}": n}) for n in range(47)]
# The last one is no JSON, and rejected.
EVENTS = [*[json.dumps({"system.cpu": n}) for n in range(25)], "x"]
LOG = [f"line {n}" for n in range(33)]
LARGE = StreamUpdate(
    {"history": Chunk(0, ROWS), "events": Chunk(0, EVENTS), "console": Chunk(0, LOG)},
    summary='{"best": 1}',
    derive_summary=True,
    complete=True,
    exit_code=0,
)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "LINES_AT_ONCE", FEW)


def stored(store: Store, run: RunRow) -> list[object]:
    """All that the update has stored."""
    found = store.runs.by_id(run.id)
    assert found
    return [
        store.history.window(found, 0, 1000, 1000),
        store.history.tail(found, "events"),
        [line.line for line in store.console.page(found, first=1000).items],
        (found.history_lines, found.event_lines, found.console_lines),
        (json.loads(found.summary), found.state),
    ]


@pytest.mark.parametrize("writer", [None, "one of two"])
def test_it_is_the_same_in_parts(store: Store, run: RunRow, writer: str | None) -> None:
    project = store.projects.get(run.entity, run.project)
    assert project
    other, _ = store.runs.upsert(project, "other")
    update = replace(LARGE, writer=writer)
    reply = store.stream.apply(run, update)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream_module, "LINES_AT_ONCE", FEW)
        patch.setattr(stream_module, "TEXT_AT_ONCE", 100)
        for _ in range(2):  # what is sent again is stored once
            assert store.stream.apply(other, update) == reply
    assert stored(store, other) == stored(store, run)
    assert stored(store, other)[3] == (47, 26, 33)


@pytest.mark.usefixtures("few")
def test_no_transaction_has_more_than_so_many_lines(
    store: Store, run: RunRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    transactions: list[int] = []
    write, put = Database.write, lines.put

    @contextmanager
    def counted(self: Database, **given: Any) -> Iterator[Any]:
        transactions.append(0)
        with write(self, **given) as connection:
            yield connection

    def count(connection: Any, run_id: int, some: CheckedLines) -> int:
        transactions[-1] += len(some.texts)
        return put(connection, run_id, some)

    monkeypatch.setattr(Database, "write", counted)
    monkeypatch.setattr(stream_module, "put", count)
    store.stream.apply(run, LARGE)
    assert sum(transactions) == len(ROWS + EVENTS + LOG)
    assert max(transactions) == FEW


@pytest.mark.usefixtures("few")
def test_the_lines_of_an_appender_are_stored_together_or_not_at_all(
    store: Store, run: RunRow
) -> None:
    claim = AppendClaim("a", 0, 0)
    with pytest.raises(RequestError, match="20 lines at once"):
        store.stream.apply(run, StreamUpdate({"history": Chunk(0, ROWS)}, appender=claim))
    assert stored(store, run)[0] == []
    store.stream.apply(run, StreamUpdate({"history": Chunk(0, ROWS[:20])}, appender=claim))
    assert stored(store, run)[0] == ROWS[:20]


def test_whoever_waits_has_the_lock_before_the_one_that_has_just_had_it() -> None:
    turns = _Turns()
    order: list[str] = []

    def wait() -> None:
        with turns:
            order.append("other")

    other = threading.Thread(target=wait)
    with turns:
        other.start()
        while not turns._next.locked():  # until it waits
            other.join(0.001)
    with turns:
        order.append("again")
    other.join()
    assert order == ["other", "again"]
