"""Writers that may only add to the end of a history, so that none overwrites another's lines.

This goes beyond W&B, which lets every writer overwrite every line. Only the client of aiowandb
asks for it, and only where the feature `AIOWANDB_EXCLUSIVE_APPEND` is announced. Where the lines
of such a writer are is kept in `writer_range`: a request that is sent again finds its own lines
and is not taken for somebody else's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiowandb_server.errors import RequestError

if TYPE_CHECKING:
    import sqlite3

# The names of these writers begin so, which keeps them apart from those of the shared mode.
_FIRST_NAME, _BEHIND_LAST_NAME = "append:", "append;"


@dataclass(frozen=True, slots=True)
class AppendClaim:
    """Who appends. The `lines` lines from number `first` on were acknowledged to it."""

    writer: str
    first: int
    lines: int

    @property
    def next(self) -> int:
        return self.first + self.lines


def claim(
    connection: sqlite3.Connection,
    run_id: int,
    appender: AppendClaim,
    stored: int,
    offset: int,
    length: int,
) -> int:
    """Let the appender have the lines `offset` to `offset + length` of a history of `stored` lines.

    Gives how many of them it has stored before, which need not be stored again. Raises
    RequestError (409), and then nothing may be stored, if a line there is somebody else's,
    or if one that was acknowledged to the appender is no longer its own.
    """
    own_end = min(_own_end(connection, run_id, appender), stored)
    if own_end < appender.next or appender.next != offset or min(stored, offset + length) > own_end:
        raise RequestError(
            f"another writer adds rows to this run: its history has {stored} lines,"
            f" and this writer knows {appender.next}",
            status=409,
        )
    if offset + length > own_end:
        connection.execute(
            """
            INSERT INTO writer_range VALUES (?, 'history', ?, ?, ?, ?)
            ON CONFLICT DO UPDATE SET length = excluded.length
            """,
            (
                run_id,
                _FIRST_NAME + appender.writer,
                appender.first,
                offset + length - appender.first,
                appender.first,
            ),
        )
    return min(own_end, offset + length) - offset


def release(connection: sqlite3.Connection, run_id: int, offset: int, end: int) -> None:
    """The lines `offset` to `end` are no appender's any more: they are overwritten, or gone."""
    connection.execute(
        """
        UPDATE writer_range SET length = max(0, ? - number)
        WHERE run_id = ? AND stream = 'history' AND writer >= ? AND writer < ?
          AND number < ? AND number + length > ?
        """,
        (offset, run_id, _FIRST_NAME, _BEHIND_LAST_NAME, end, offset),
    )


def _own_end(connection: sqlite3.Connection, run_id: int, appender: AppendClaim) -> int:
    """The number of the first line that is not the appender's."""
    row = connection.execute(
        """
        SELECT number + length FROM writer_range
        WHERE run_id = ? AND stream = 'history' AND writer = ? AND first = ?
        """,
        (run_id, _FIRST_NAME + appender.writer, appender.first),
    ).fetchone()
    return int(row[0]) if row else appender.first
