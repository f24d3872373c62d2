"""Moves history from SQLite into a segment.

A crash at any time loses nothing: first the files are written and synced, then one transaction
registers them and deletes the lines that they contain. Lines stored since the snapshot stay in
SQLite; if one of the moved lines was rewritten meanwhile, the files are discarded and compaction
starts over.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

import pyarrow.compute as pc

from aiowandb_server.store.gone_lines import IS_LINE, delete_gone_lines, let_go
from aiowandb_server.store.history_keys import KeyCounter, save
from aiowandb_server.store.line_blocks import has_blocks
from aiowandb_server.store.line_tables import tables_of
from aiowandb_server.store.lines import MAX_STEP, live_history, tables_in_order
from aiowandb_server.store.metering import done_without
from aiowandb_server.store.records import Line, SegmentRow

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    import pyarrow as pa

    from aiowandb_server.store.database import Database
    from aiowandb_server.store.segments import SegmentFiles

_ATTEMPTS = 3


class Compaction:
    def __init__(self, database: Database, files: SegmentFiles) -> None:
        self._database = database
        self._files = files
        self._too_large: set[int] = set()

    def compact(self, run_id: int) -> None:
        """Move all present lines of the run into a segment. Gives up if they keep changing, or have
        so many keys that their columns take more memory than a request may have."""
        if run_id in self._too_large:
            return
        delete_gone_lines(self._database, run_id)
        fits = False
        with done_without():
            any(self._attempt(run_id) for _ in range(_ATTEMPTS))
            fits = True
        if not fits:
            # Otherwise each reader would try again.
            self._too_large.add(run_id)

    def merged(
        self,
        connection: sqlite3.Connection,
        run_id: int,
        low: int = -MAX_STEP,
        high: int = MAX_STEP,
    ) -> Iterator[Line]:
        """All lines of the run in step order; lines in SQLite replace those in the segment."""
        segment = segment_of(connection, run_id)
        live = live_history(connection, run_id, low, high)
        if segment is None:
            return live
        stored = self._files.read(segment.token, low, high)
        covered = covered_numbers(connection, run_id, segment)
        if covered:
            stored = (line for line in stored if line.number not in covered)
        return heapq.merge(stored, live)

    def _tables(self, connection: sqlite3.Connection, run_id: int) -> Iterator[pa.Table]:
        """All lines of the run in step order."""
        if segment_of(connection, run_id) is None:
            blocks = tables_in_order(connection, run_id)
            if blocks is not None:
                return blocks
        return tables_of(self.merged(connection, run_id))

    def _attempt(self, run_id: int) -> bool:
        with self._database.read(piecewise=True) as connection:
            before = position_of(connection, run_id)
            if before is None or not has_live(connection, run_id):
                return True
            bounds = SegmentBounds(self._tables(connection, run_id))
            counter = KeyCounter()
            token = self._files.write(bounds, counter)
        with self._database.write(repeatable=True) as connection:
            moved = position_of(connection, run_id) == before
            if moved:
                connection.execute("DELETE FROM segment WHERE run_id = ?", (run_id,))
                bounds.register(connection, run_id, token)
                let_go(connection, run_id, bounds.end)
                save(
                    connection, run_id, rewrites=before[0], lines=bounds.end, keys=counter.encode()
                )
        if moved:
            delete_gone_lines(self._database, run_id)
        else:
            self._files.remove(token)
        return moved


class SegmentBounds:
    """Iterates over tables of lines and collects the facts with which the segment is registered."""

    def __init__(self, tables: Iterator[pa.Table]) -> None:
        self._tables = tables
        self.rows = self.end = 0
        self.first = self.last = 0

    def __iter__(self) -> Iterator[pa.Table]:
        for table in self._tables:
            steps = table.column("step")
            if self.rows == 0:
                self.first = steps[0].as_py()
            self.last = steps[-1].as_py()
            self.rows += table.num_rows
            self.end = max(self.end, pc.max(table.column("number")).as_py() + 1)
            yield table

    def register(self, connection: sqlite3.Connection, run_id: int, token: str) -> None:
        """Make the files with this token the segment of the run, which has none."""
        connection.execute(
            "INSERT INTO segment VALUES (?, ?, ?, ?, ?, ?)",
            (run_id, token, self.rows, self.first, self.last, self.end),
        )


def segment_of(connection: sqlite3.Connection, run_id: int) -> SegmentRow | None:
    row = connection.execute(
        "SELECT token, row_count, first_step, last_step, end_number FROM segment WHERE run_id = ?",
        (run_id,),
    ).fetchone()
    return SegmentRow(*row) if row else None


def has_live(connection: sqlite3.Connection, run_id: int) -> bool:
    row = connection.execute(
        f"SELECT 1 FROM line WHERE run_id = ? AND stream = 'history' AND {IS_LINE} LIMIT 1",  # noqa: S608
        (run_id,),
    ).fetchone()
    return row is not None or has_blocks(connection, run_id)


def covered_numbers(connection: sqlite3.Connection, run_id: int, segment: SegmentRow) -> set[int]:
    """The numbers of lines that were sent again after they were moved to the segment."""
    rows = connection.execute(
        f"""
        SELECT number FROM line
        WHERE run_id = ? AND stream = 'history' AND number < ? AND {IS_LINE}
        """,  # noqa: S608 - a constant
        (run_id, segment.end_number),
    )
    return {number for (number,) in rows}


def position_of(connection: sqlite3.Connection, run_id: int) -> tuple[int, str | None] | None:
    """The state of the run's history; files made from a snapshot are valid while it is the same."""
    row = connection.execute(
        """
        SELECT history_rewrites, token FROM run LEFT JOIN segment ON segment.run_id = run.id
        WHERE run.id = ?
        """,
        (run_id,),
    ).fetchone()
    return (row[0], row[1]) if row else None
