"""Several processes that write to one run in shared mode.

Each of them numbers its lines from 0. The lines are stored in the order in which they arrive, and
`writer_range` maps the numbers, so that a process that sends lines again overwrites its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiowandb_server.store.lines import Stream, count

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence


def placed(
    connection: sqlite3.Connection,
    run_id: int,
    stream: Stream,
    writer: str,
    offset: int,
    lines: Sequence[str],
) -> Iterator[tuple[int, Sequence[str]]]:
    """The lines `offset`, `offset + 1`, ... of a writer in pieces, each with the number of its
    first line in the run. Each piece must be stored before the next one is requested."""
    end = offset + len(lines)
    known = connection.execute(
        """
        SELECT first, first + length, number FROM writer_range
        WHERE run_id = ? AND stream = ? AND writer = ? AND first < ? AND first + length > ?
        ORDER BY first
        """,
        (run_id, stream, writer, end, offset),
    ).fetchall()
    at = offset
    for first, last, number in known:
        if at < first:
            yield _appended(
                connection, run_id, stream, writer, at, lines[at - offset : first - offset]
            )
            at = first
        until = min(last, end)
        yield number + at - first, lines[at - offset : until - offset]
        at = until
    if at < end:
        yield _appended(connection, run_id, stream, writer, at, lines[at - offset :])


def _appended(
    connection: sqlite3.Connection,
    run_id: int,
    stream: Stream,
    writer: str,
    first: int,
    lines: Sequence[str],
) -> tuple[int, Sequence[str]]:
    number = count(connection, run_id, stream)
    grown = connection.execute(
        """
        UPDATE writer_range SET length = length + ?
        WHERE run_id = ? AND stream = ? AND writer = ? AND first + length = ?
          AND number + length = ? AND first = (
              SELECT max(first) FROM writer_range
              WHERE run_id = ? AND stream = ? AND writer = ? AND first < ?)
        """,
        (len(lines), run_id, stream, writer, first, number, run_id, stream, writer, first),
    ).rowcount
    if not grown:
        connection.execute(
            "INSERT INTO writer_range VALUES (?, ?, ?, ?, ?, ?)",
            (run_id, stream, writer, first, len(lines), number),
        )
    return number, lines
