"""Rewinds runs: deletes the rows after a step.

A short cut is one transaction. Otherwise the rows that stay are written into a segment first, as
when a run is compacted, and take the place of all others in one short transaction; other writers
would wait while lines are moved and deleted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiowandb_server.errors import RequestError
from aiowandb_server.store.appenders import release
from aiowandb_server.store.compaction import SegmentBounds, position_of, segment_of
from aiowandb_server.store.gone_lines import check_gone, delete_gone_lines, let_go, write_lines
from aiowandb_server.store.history_keys import KeyCounter
from aiowandb_server.store.line_blocks import cut_blocks
from aiowandb_server.store.line_tables import tables_of
from aiowandb_server.store.lines import LINES_AT_ONCE, MAX_STEP, count, note_rewrite

if TYPE_CHECKING:
    import sqlite3

    from aiowandb_server.store.compaction import Compaction
    from aiowandb_server.store.database import Database
    from aiowandb_server.store.segments import SegmentFiles

_ATTEMPTS = 3


class Rewinding:
    def __init__(self, database: Database, files: SegmentFiles, compaction: Compaction) -> None:
        self._database = database
        self._files = files
        self._compaction = compaction

    def rewind(self, run_id: int, last_step: int) -> None:
        """Delete all rows after a step. Raises RequestError if rows keep coming meanwhile."""
        with self._database.read() as connection:
            is_short = self._is_short(connection, run_id, last_step)
        if is_short:
            write_lines(
                self._database, run_id, lambda connection: self._cut(connection, run_id, last_step)
            )
            return
        for _ in range(_ATTEMPTS):
            if self._attempt(run_id, last_step):
                delete_gone_lines(self._database, run_id)
                return
        raise RequestError("rows are written to this run while it is rewound: try again", 409)

    def _is_short(self, connection: sqlite3.Connection, run_id: int, last_step: int) -> bool:
        """Whether few lines have to be deleted, and few to be moved to where they can be."""
        segment = segment_of(connection, run_id)
        moved = segment.row_count if segment and segment.last_step > last_step else 0
        (lines,) = connection.execute(
            """
            SELECT count(*) FROM (SELECT 1 FROM line
                WHERE run_id = ? AND stream = 'history' AND step > ? LIMIT ?)
            """,
            (run_id, last_step, LINES_AT_ONCE + 1),
        ).fetchone()
        (in_blocks,) = connection.execute(
            "SELECT ifnull(sum(end_number - number), 0) FROM line_block"
            " WHERE run_id = ? AND last_step > ?",
            (run_id, last_step),
        ).fetchone()
        return bool(moved + lines + in_blocks <= LINES_AT_ONCE)

    def _cut(self, connection: sqlite3.Connection, run_id: int, last_step: int) -> None:
        check_gone(connection, run_id)
        cut_blocks(connection, run_id, last_step)
        segment = segment_of(connection, run_id)
        if segment and segment.last_step > last_step:
            # Lines that were sent again are there already, and stay.
            kept = self._files.read(segment.token, -MAX_STEP, last_step + 1)
            connection.execute("DELETE FROM segment WHERE run_id = ?", (run_id,))
            connection.executemany(
                "INSERT OR IGNORE INTO line VALUES (?, 'history', ?, ?, ?)",
                ((run_id, line.number, line.step, line.text) for line in kept),
            )
        connection.execute(
            "DELETE FROM line WHERE run_id = ? AND stream = 'history' AND step > ?",
            (run_id, last_step),
        )
        connection.execute(
            """
            UPDATE run SET history_lines = max(
                ifnull((SELECT max(number) + 1 FROM line
                        WHERE run_id = run.id AND stream = 'history'), 0),
                ifnull((SELECT max(end_number) FROM line_block WHERE run_id = run.id), 0),
                ifnull((SELECT end_number FROM segment WHERE run_id = run.id), 0))
            WHERE id = ?
            """,
            (run_id,),
        )
        release(connection, run_id, count(connection, run_id, "history"), MAX_STEP)
        note_rewrite(connection, run_id)

    def _attempt(self, run_id: int, last_step: int) -> bool:
        """Replace all lines by a segment; returns False if some have come meanwhile."""
        with self._database.read(piecewise=True) as connection:
            before = position_of(connection, run_id), count(connection, run_id, "history")
            kept = self._compaction.merged(connection, run_id, -MAX_STEP, last_step + 1)
            bounds = SegmentBounds(tables_of(kept))
            token = self._files.write(bounds, KeyCounter())
        with self._database.write() as connection:
            now = position_of(connection, run_id), count(connection, run_id, "history")
            if now == before:
                connection.execute("DELETE FROM segment WHERE run_id = ?", (run_id,))
                if bounds.rows:
                    bounds.register(connection, run_id, token)
                let_go(connection, run_id, before[1])
                connection.execute(
                    "UPDATE run SET history_lines = ? WHERE id = ?", (bounds.end, run_id)
                )
                release(connection, run_id, bounds.end, MAX_STEP)
                note_rewrite(connection, run_id)
        if now != before or not bounds.rows:
            self._files.remove(token)
        return now == before
