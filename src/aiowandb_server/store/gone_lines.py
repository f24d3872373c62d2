"""History lines that are no longer those of a run: gone at once for readers, deleted in parts.

A long history is moved to a segment, or cut off, in one short transaction; all other writers would
wait while its lines are deleted. If the process ends meanwhile, that goes on when the store is
opened again, or before lines with these numbers are written.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

from aiowandb_server.store.deleting import DeletionPace

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from aiowandb_server.store.database import Database

T = TypeVar("T")
# The conditions that a row of `line` or `line_block` belongs to the history.
_NOT_GONE = """
    NOT EXISTS (SELECT 1 FROM gone_lines
                WHERE gone_lines.run_id = {0}.run_id AND {0}.number < gone_lines.end_number)
"""
IS_LINE = _NOT_GONE.format("line")
IS_BLOCK = _NOT_GONE.format("line_block")
# A block takes as long as so many lines.
_LINES_A_BLOCK = 50


class GoneLinesError(Exception):
    """A line cannot be written yet, because the one that had its number is being deleted."""


def let_go(connection: sqlite3.Connection, run_id: int, end: int) -> None:
    """Take all history lines before a number from the run; call `delete_gone_lines` afterwards."""
    connection.execute(
        """
        INSERT INTO gone_lines VALUES (?, ?)
        ON CONFLICT DO UPDATE SET end_number = max(end_number, excluded.end_number)
        """,
        (run_id, end),
    )


def check_gone(connection: sqlite3.Connection, run_id: int, number: int | None = None) -> None:
    """Raise GoneLinesError if a line of this number, or any, is gone and not deleted yet."""
    row = connection.execute(
        "SELECT 1 FROM gone_lines WHERE run_id = ? AND (? IS NULL OR end_number > ?)",
        (run_id, number, number),
    ).fetchone()
    if row is not None:
        raise GoneLinesError


def write_lines(database: Database, run_id: int, work: Callable[[sqlite3.Connection], T]) -> T:
    """Call `work` in a transaction; if gone lines are in its way, after they have been deleted."""
    while True:
        try:
            with database.write() as connection:
                return work(connection)
        except GoneLinesError:
            delete_gone_lines(database, run_id)


def delete_gone_lines(database: Database, run_id: int, until: float | None = None) -> None:
    """Delete the lines that are gone, in parts."""
    with database.read() as connection:
        row = connection.execute("SELECT 1 FROM gone_lines WHERE run_id = ?", (run_id,)).fetchone()
    if row is None:
        return
    pace = DeletionPace(until)
    while not pace.is_over:
        with database.write(repeatable=True) as connection:
            started = time.monotonic()
            if not _delete_some(connection, run_id, pace.rows):
                connection.execute("DELETE FROM gone_lines WHERE run_id = ?", (run_id,))
                return
        pace.took(time.monotonic() - started)


def finish_gone_lines(database: Database, until: float) -> None:
    """Delete what was being deleted when the process ended."""
    with database.read() as connection:
        run_ids = [run_id for (run_id,) in connection.execute("SELECT run_id FROM gone_lines")]
    for run_id in run_ids:
        delete_gone_lines(database, run_id, until)


def _delete_some(connection: sqlite3.Connection, run_id: int, rows: int) -> int:
    deleted = 0
    for table, condition, limit in (
        ("line_block", "TRUE", max(rows // _LINES_A_BLOCK, 1)),
        ("line", "stream = 'history'", rows),
    ):
        deleted += connection.execute(
            f"""
            DELETE FROM {table} WHERE rowid IN (SELECT rowid FROM {table}
                WHERE run_id = ?1 AND {condition}
                  AND number < (SELECT end_number FROM gone_lines WHERE run_id = ?1) LIMIT ?2)
            """,  # noqa: S608 - known names
            (run_id, limit),
        ).rowcount
    return deleted
