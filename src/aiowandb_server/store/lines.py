"""Lines of a run's streams in SQLite, by number, so that lines sent again replace themselves."""

from __future__ import annotations

import heapq
import json
from contextlib import suppress
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Literal, NamedTuple

from aiowandb_server.errors import RequestError
from aiowandb_server.store.appenders import release
from aiowandb_server.store.gone_lines import IS_LINE, check_gone
from aiowandb_server.store.line_blocks import (
    block_spans,
    lines_in_blocks,
    may_be_block,
    pack,
    put_block,
    tables_in_blocks,
    unpack,
)
from aiowandb_server.store.metering import SIZE_OF_PLACE, charge
from aiowandb_server.store.records import Line
from aiowandb_server.store.rows import steps_of

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence
    from typing import Self

    import pyarrow as pa

Stream = Literal["history", "events", "console"]

_COUNTER: dict[Stream, str] = {
    "history": "history_lines",
    "events": "event_lines",
    "console": "console_lines",
}
MAX_STEP = 2**63 - 1
# More are not stored in one transaction, in which all other writers wait: for a tenth of a second.
LINES_AT_ONCE = 10_000
TEXT_AT_ONCE = 8 << 20


class CheckedLines(NamedTuple):
    """Lines `offset`, `offset + 1`, ... of a stream, as they are going to be stored.

    This takes most of the time of storing them, and needs no transaction.
    """

    stream: Stream
    offset: int
    texts: Sequence[str]
    # Those of lines without a step, or that are rejected, are None.
    steps: Sequence[int | None]
    rejected: frozenset[int]
    block: pa.Buffer | None

    @classmethod
    def of(cls, stream: Stream, offset: int, texts: Sequence[str]) -> Self:
        """Console lines can be any text; lines of other streams must be JSON objects."""
        if stream == "console":
            return cls(stream, offset, texts, [None] * len(texts), frozenset(), None)
        texts, steps = steps_of(texts, offset)
        rejected = frozenset(place for place, step in enumerate(steps) if step is None)
        block = None
        if stream == "history" and not rejected and may_be_block(steps):
            with suppress(UnicodeEncodeError):  # which is reported when they are stored
                block = pack(steps, texts)
        return cls(stream, offset, texts, steps, rejected, block)


def put(connection: sqlite3.Connection, run_id: int, lines: CheckedLines) -> int:
    """Store the lines; returns how many were rejected.

    These are in `rejected_line`. The previous texts of history lines are stored as well.
    """
    stream, offset, texts, steps, rejected, block = lines
    stored = count(connection, run_id, stream)
    if stream == "history":
        check_gone(connection, run_id, offset)
    if stream == "history" and offset < stored:
        unpack(connection, run_id, offset, offset + len(texts))
        connection.executemany(
            """
            INSERT INTO replaced_line (run_id, number, text) SELECT run_id, number, text FROM line
            WHERE run_id = ? AND stream = ? AND number = ? AND text <> ?
            """,
            (
                (run_id, stream, offset + place, text)
                for place, text in enumerate(texts)
                if place not in rejected
            ),
        )
        note_rewrite(connection, run_id)
        release(connection, run_id, offset, offset + len(texts))
        block = None
    if block is not None:
        put_block(connection, run_id, offset, steps, block)
    else:
        connection.executemany(
            """
            INSERT INTO line VALUES (?, ?, ?, ?, ?)
            ON CONFLICT DO UPDATE SET step = excluded.step, text = excluded.text
            """,
            (
                (run_id, stream, offset + place, step if stream == "history" else None, text)
                for place, (step, text) in enumerate(zip(steps, texts, strict=True))
                if place not in rejected
            ),
        )
    if rejected:
        connection.executemany(
            "INSERT OR REPLACE INTO rejected_line VALUES (?, ?, ?, ?)",
            ((run_id, stream, offset + place, texts[place]) for place in sorted(rejected)),
        )
    if offset + len(texts) > stored:
        connection.execute(
            f"UPDATE run SET {_COUNTER[stream]} = ? WHERE id = ?",  # noqa: S608 - known names
            (offset + len(texts), run_id),
        )
    return len(rejected)


def count(connection: sqlite3.Connection, run_id: int, stream: Stream) -> int:
    """The number of the next line of the stream."""
    row = connection.execute(
        f"SELECT {_COUNTER[stream]} FROM run WHERE id = ?",  # noqa: S608 - known names
        (run_id,),
    ).fetchone()
    if row is None:
        raise RequestError("this run has been deleted")
    return int(row[0])


def note_rewrite(connection: sqlite3.Connection, run_id: int) -> None:
    """Mark everything derived from the history as outdated."""
    connection.execute(
        "UPDATE run SET history_rewrites = history_rewrites + 1 WHERE id = ?", (run_id,)
    )


def live_history(
    connection: sqlite3.Connection, run_id: int, low: int = -MAX_STEP, high: int = MAX_STEP
) -> Iterator[Line]:
    """History lines that are not in a segment, `low <= step < high`, in step order."""
    cursor = connection.execute(
        f"""
        SELECT step, number, text FROM line
        WHERE run_id = ? AND stream = 'history' AND step >= ? AND step < ? AND {IS_LINE}
        ORDER BY step, number
        """,  # noqa: S608 - a constant
        (run_id, low, high),
    )
    rows = (Line(*row) for row in cursor)
    blocks = lines_in_blocks(connection, run_id, low, high)
    spans = block_spans(connection, run_id, low, high)
    if not spans:
        return rows
    first = next(rows, None)
    if first is None and all(one[1] < other[0] for one, other in pairwise(spans)):
        return chain.from_iterable(blocks)
    return heapq.merge(chain([] if first is None else [first], rows), *blocks)


def tables_in_order(connection: sqlite3.Connection, run_id: int) -> Iterator[pa.Table] | None:
    """The history lines that are not in a segment, if they are in blocks that follow each other."""
    spans = block_spans(connection, run_id, -MAX_STEP, MAX_STEP)
    alone = connection.execute(
        f"SELECT 1 FROM line WHERE run_id = ? AND stream = 'history' AND {IS_LINE} LIMIT 1",  # noqa: S608
        (run_id,),
    ).fetchone()
    if alone or not all(one[1] < other[0] for one, other in pairwise(spans)):
        return None
    return tables_in_blocks(connection, run_id)


def live_places(
    connection: sqlite3.Connection, run_id: int, low: int, high: int
) -> list[tuple[int, int]]:
    """The step and number of each line that `live_history` returns, without reading the text."""
    where = f"run_id = ? AND stream = 'history' AND step >= ? AND step < ? AND {IS_LINE}"
    (total,) = connection.execute(
        f"SELECT count(*) FROM line WHERE {where}",  # noqa: S608 - a constant
        (run_id, low, high),
    ).fetchone()
    charge(total * SIZE_OF_PLACE)
    cursor = connection.execute(
        f"SELECT step, number FROM line WHERE {where} ORDER BY step, number",  # noqa: S608
        (run_id, low, high),
    )
    places = [(step, number) for step, number in cursor]
    for block in lines_in_blocks(connection, run_id, low, high):
        found = [(line.step, line.number) for line in block]
        charge(len(found) * SIZE_OF_PLACE)
        places += found
    return sorted(places)


def numbers(connection: sqlite3.Connection, run_id: int, stream: Stream) -> list[int]:
    """The numbers of the lines of a stream that are in SQLite."""
    rows = connection.execute(
        "SELECT number FROM line WHERE run_id = ? AND stream = ? ORDER BY number", (run_id, stream)
    )
    return [number for (number,) in rows]


def texts(
    connection: sqlite3.Connection, run_id: int, stream: Stream, first: int, end: int
) -> list[tuple[int, str]]:
    """The number and text of the lines `first <= number < end` that are in SQLite."""
    rows = connection.execute(
        """
        SELECT number, text FROM line
        WHERE run_id = ? AND stream = ? AND number >= ? AND number < ? ORDER BY number
        """,
        (run_id, stream, first, end),
    )
    return [(number, text) for number, text in rows]


def texts_of(
    connection: sqlite3.Connection, run_id: int, stream: Stream, wanted: Sequence[int]
) -> list[str]:
    """The texts of the lines with these numbers."""
    rows = connection.execute(
        """
        SELECT text FROM line WHERE run_id = ? AND stream = ?
        AND number IN (SELECT value FROM json_each(?)) ORDER BY number
        """,
        (run_id, stream, json.dumps(wanted)),
    )
    return [text for (text,) in rows]


def count_rejected(connection: sqlite3.Connection, run_id: int) -> int:
    (count,) = connection.execute(
        "SELECT count(*) FROM rejected_line WHERE run_id = ?", (run_id,)
    ).fetchone()
    return int(count)
