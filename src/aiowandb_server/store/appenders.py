"""Writers that only append to a history, so that they never overwrite each other's lines.

This goes beyond W&B, which lets every writer overwrite every line. Only the client of aiowandb
uses it, and only where the feature `AIOWANDB_EXCLUSIVE_APPEND` is announced. The positions of
such a writer's lines are kept in `writer_range`, so that a request that is sent again is
recognised as the same writer's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiowandb_server.errors import RequestError

if TYPE_CHECKING:
    import sqlite3

# The prefix of these writers' names, which separates them from those of the shared mode.
_FIRST_NAME, _BEHIND_LAST_NAME = "append:", "append;"


@dataclass(frozen=True, slots=True)
class AppendClaim:
    """A writer, and the lines that were acknowledged to it: `lines` lines from `first` on."""

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
    """Reserve the lines `offset` to `offset + length` of a history of `stored` lines.

    Returns how many of them the appender has stored before, which need not be stored again.
    Raises RequestError (409), and nothing may be stored, if another writer has written one of
    these lines, or has overwritten one that was acknowledged to the appender.
    """
    own_end = min(_own_end(connection, run_id, appender), stored)
    if own_end < appender.next or appender.next != offset or min(stored, offset + length) > own_end:
        raise RequestError(
            f"another writer adds rows to this run: its history has {stored} lines,"
            f" and this writer knows {appender.next}",
            409,
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
    """Forget which appender wrote the lines `offset` to `end`: they are overwritten or deleted."""
    connection.execute(
        """
        UPDATE writer_range SET length = max(0, ? - number)
        WHERE run_id = ? AND stream = 'history' AND writer >= ? AND writer < ?
          AND number < ? AND number + length > ?
        """,
        (offset, run_id, _FIRST_NAME, _BEHIND_LAST_NAME, end, offset),
    )


def _own_end(connection: sqlite3.Connection, run_id: int, appender: AppendClaim) -> int:
    """The number after the appender's last line."""
    row = connection.execute(
        """
        SELECT number + length FROM writer_range
        WHERE run_id = ? AND stream = 'history' AND writer = ? AND first = ?
        """,
        (run_id, _FIRST_NAME + appender.writer, appender.first),
    ).fetchone()
    return int(row[0]) if row else appender.first
