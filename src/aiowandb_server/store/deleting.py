"""Deletes runs with many lines, and projects with many runs, in several transactions.

All other writers wait for a transaction. What has few lines is deleted in one, as readers see it;
of the others, readers may see a part while they are deleted. Lines of the console go first: a
history is complete or, by the count of its lines, known not to be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiowandb_server.store.lines import LINES_AT_ONCE

if TYPE_CHECKING:
    from aiowandb_server.store.database import Database

_RUNS_AT_ONCE = 500
_TABLES = ("line", "rejected_line", "replaced_line")
_LINES = "history_lines + event_lines + console_lines"


def delete_run(database: Database, run_id: int) -> bool:
    """Delete the run; returns whether there was one."""
    with database.read() as connection:
        row = connection.execute(
            f"SELECT {_LINES} FROM run WHERE id = ?",  # noqa: S608 - a constant
            (run_id,),
        ).fetchone()
    if row is None:
        return False
    if row[0] > LINES_AT_ONCE:
        _delete_lines(database, run_id)
    with database.write() as connection:
        return connection.execute("DELETE FROM run WHERE id = ?", (run_id,)).rowcount > 0


def delete_project(database: Database, project_id: int) -> None:
    """Delete the project and everything in it."""
    while runs := _too_many_runs(database, project_id):
        part: list[int] = []
        size = 0
        for run_id, lines in runs:
            if lines > LINES_AT_ONCE:
                _delete_lines(database, run_id)
                lines = 0
            if size + lines > LINES_AT_ONCE:
                _delete_runs(database, part)
                part, size = [], 0
            part.append(run_id)
            size += lines
        _delete_runs(database, part)
    with database.write() as connection:
        connection.execute("DELETE FROM project WHERE id = ?", (project_id,))


def _too_many_runs(database: Database, project_id: int) -> list[tuple[int, int]]:
    """Runs and their lines which have to be deleted before the others can be in one transaction."""
    with database.read() as connection:
        rows = connection.execute(
            f"SELECT id, {_LINES} FROM run WHERE project_id = ? LIMIT ?",  # noqa: S608 - a constant
            (project_id, _RUNS_AT_ONCE + 1),
        ).fetchall()
    if len(rows) <= _RUNS_AT_ONCE and sum(lines for _, lines in rows) <= LINES_AT_ONCE:
        return []
    return [(run_id, lines) for run_id, lines in rows]


def _delete_runs(database: Database, run_ids: list[int]) -> None:
    with database.write() as connection:
        connection.executemany("DELETE FROM run WHERE id = ?", [(run_id,) for run_id in run_ids])


def _delete_lines(database: Database, run_id: int) -> None:
    # In the order of the primary key: console, events, history.
    for table in _TABLES:
        deleted = LINES_AT_ONCE
        while deleted == LINES_AT_ONCE:
            with database.write() as connection:
                deleted = connection.execute(
                    f"""
                    DELETE FROM {table} WHERE rowid IN
                        (SELECT rowid FROM {table} WHERE run_id = ? LIMIT ?)
                    """,  # noqa: S608 - known names
                    (run_id, LINES_AT_ONCE),
                ).rowcount
