"""Lists of runs: orders, pages, counts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aiowandb_server import RunChanges, Store
from aiowandb_server.errors import RequestError
from aiowandb_server.store.records import ProjectRow
from tests.server.conftest import Clock


@pytest.fixture
def filled(store: Store, project: ProjectRow, clock: Clock) -> ProjectRow:
    for name, loss in (("a", 3), ("b", None), ("c", 1.5), ("d", 3), ("e", "text")):
        clock.now += 10
        summary = {"loss": loss} if loss is not None else {}
        store.runs.upsert(project, name, RunChanges(summary=json.dumps(summary)))
    return project


def in_pages(store: Store, project: ProjectRow, **question: Any) -> str:
    """Names of all runs, read two at a time."""
    names, after = "", None
    while True:
        page = store.runs.page(project, first=2, after=after, **question)
        names += "".join(run.name for run in page.items)
        if not page.has_next:
            return names
        after = page.cursors[-1]


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (None, "abcde"),
        ("+created_at", "abcde"),
        ("created_at", "abcde"),
        ("-created_at", "edcba"),
        ("-name", "edcba"),
        ("-heartbeatAt", "edcba"),
        ("+summary_metrics.loss", "cadeb"),
        ("-summary_metrics.loss", "edacb"),
        ("+config.missing.value", "abcde"),
        ("-state", "edcba"),
    ],
)
def test_an_order_is_kept_across_pages(
    store: Store, filled: ProjectRow, order: str | None, expected: str
) -> None:
    assert in_pages(store, filled, order=order) == expected


def test_pages_stay_right_while_runs_come_and_go(store: Store, filled: ProjectRow) -> None:
    first = store.runs.page(filled, first=2, order="-created_at")
    store.runs.upsert(filled, "newcomer")
    gone = store.runs.get(filled, "d")
    assert gone is not None
    store.runs.delete(gone.id)
    rest = store.runs.page(filled, order="-created_at", after=first.cursors[-1])
    assert [run.name for run in rest.items] == ["c", "b", "a"]


def test_an_unknown_order_and_a_made_up_cursor_are_refused(
    store: Store, filled: ProjectRow
) -> None:
    with pytest.raises(RequestError, match="runs have no field 'colour'"):
        store.runs.page(filled, order="-colour")
    with pytest.raises(RequestError, match="not a cursor"):
        store.runs.page(filled, after="12")


def test_the_count_of_a_project_follows_its_runs(store: Store, filled: ProjectRow) -> None:
    assert store.runs.count(filled) == 5
    run = store.runs.get(filled, "a")
    assert run is not None
    store.runs.delete(run.id)
    assert store.runs.count(filled) == 4
    assert store.projects.get("local", "demo").run_count == 4  # type: ignore[union-attr]


def test_a_page_far_into_a_large_project_reads_no_run_before_it(store: Store) -> None:
    project, _ = store.projects.ensure("local", "large")
    with store._database.write() as connection:
        connection.executemany(
            "INSERT INTO run (project_id, name, display_name, state, created_at, heartbeat_at) "
            "VALUES (?, ?, ?, 'finished', ?, ?)",
            [(project.id, f"r{index}", "", index, index) for index in range(3000)],
        )
        plan = connection.execute(
            "EXPLAIN QUERY PLAN SELECT * FROM run WHERE project_id = ? "
            "AND ((run.created_at, run.id) > (?, ?)) ORDER BY run.created_at, run.id LIMIT 51",
            (project.id, 2000, 1),
        ).fetchall()
    assert "USING INDEX run_by_creation (project_id=? AND created_at>?)" in plan[0][3]
    assert store.runs.count(project) == 3000


def test_lists_of_what_may_be_large_sort_only_ids(store: Store, project: ProjectRow) -> None:
    seen: list[str] = []
    database = store.reports._database
    with database.read() as connection:  # which is the one that the next ones use
        connection.set_trace_callback(seen.append)
    store.reports.page(project)
    store.sweeps.page(project, first=5)
    with database.read() as connection:
        connection.set_trace_callback(None)
        lists = [statement for statement in seen if "ORDER BY" in statement]
        assert len(lists) == 2
        for statement in lists:
            plan = connection.execute(f"EXPLAIN QUERY PLAN {statement}").fetchall()
            # Of the statement itself, and not of the query of ids in it.
            steps = [step["detail"] for step in plan if step["parent"] == 0]
            assert not any("TEMP B-TREE" in step for step in steps), steps
