"""History lines that came many at once: stored compressed, as one row.

As a row each, they would take five times the CPU and ten times the writing, only to be compacted
when the run ends. A block is never changed: before one of its lines is overwritten or deleted, the
block is unpacked into the table `line`.
"""

from __future__ import annotations

from operator import le
from typing import TYPE_CHECKING, Any, NamedTuple, TypeGuard

import pyarrow as pa
import pyarrow.compute as pc

from aiowandb_server.store import line_tables
from aiowandb_server.store.arrays import ints, strings
from aiowandb_server.store.gone_lines import IS_BLOCK
from aiowandb_server.store.line_tables import lines_of
from aiowandb_server.store.metering import held
from aiowandb_server.store.records import Line

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Sequence

# With fewer lines, rows are as fast, and are read one by one.
LEAST_LINES = 256
_TYPES: dict[str, pa.DataType] = {"step": pa.int64(), "text": pa.string()}
_SCHEMA = pa.schema(_TYPES)
_OPTIONS = pa.ipc.IpcWriteOptions(compression="zstd")


_SELECT = "SELECT number, end_number, first_step, last_step, lines FROM line_block"


class _Block(NamedTuple):
    number: int
    end_number: int
    first_step: int
    last_step: int
    lines: bytes


def may_be_block(steps: Sequence[int | None]) -> TypeGuard[Sequence[int]]:
    """Whether lines with these steps can be stored as a block; each must have one."""
    known: Sequence[Any] = steps
    return len(known) >= LEAST_LINES and all(map(le, known, known[1:]))


def pack(steps: Sequence[int], texts: Sequence[str]) -> pa.Buffer:
    """The content of a block."""
    columns: list[pa.Array[Any]] = [ints(steps, has_none=False), strings(texts, has_none=False)]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, _SCHEMA, options=_OPTIONS) as stream:
        stream.write_batch(pa.RecordBatch.from_arrays(columns, schema=_SCHEMA))
    return sink.getvalue()


def put_block(
    connection: sqlite3.Connection,
    run_id: int,
    number: int,
    steps: Sequence[int | None],
    block: pa.Buffer,
) -> None:
    """Store a block of new lines, the first of which has this number."""
    connection.execute(
        "INSERT INTO line_block VALUES (?, ?, ?, ?, ?, ?)",
        (run_id, number, number + len(steps), steps[0], steps[-1], memoryview(block)),
    )


def lines_in_blocks(
    connection: sqlite3.Connection, run_id: int, low: int, high: int
) -> Iterator[Iterator[Line]]:
    """For each block its lines with `low <= step < high`, in step order; the blocks by step."""
    blocks = connection.execute(
        f"""
        {_SELECT}
        WHERE run_id = ? AND last_step >= ? AND first_step < ? AND {IS_BLOCK}
        ORDER BY first_step, number
        """,
        (run_id, low, high),
    )
    return (_lines(_Block(*block), low, high) for block in blocks)


def tables_in_blocks(connection: sqlite3.Connection, run_id: int) -> Iterator[pa.Table]:
    """The lines of each block; the blocks by step."""
    blocks = connection.execute(
        f"{_SELECT} WHERE run_id = ? AND {IS_BLOCK} ORDER BY first_step, number", (run_id,)
    )
    return (_table(_Block(*block)) for block in blocks)


def block_spans(
    connection: sqlite3.Connection, run_id: int, low: int, high: int
) -> list[tuple[int, int]]:
    """The first and the last step of each block that may have such lines, in step order."""
    spans = connection.execute(
        f"""
        SELECT first_step, last_step FROM line_block
        WHERE run_id = ? AND last_step >= ? AND first_step < ? AND {IS_BLOCK}
        ORDER BY first_step, number
        """,  # noqa: S608 - a constant
        (run_id, low, high),
    )
    return [(first, last) for first, last in spans]


def last_in_blocks(connection: sqlite3.Connection, run_id: int) -> Line | None:
    """The line with the highest number."""
    block = connection.execute(
        f"{_SELECT} WHERE run_id = ? AND {IS_BLOCK} ORDER BY number DESC LIMIT 1", (run_id,)
    ).fetchone()
    if block is None:
        return None
    *_, last = _lines(_Block(*block), block["last_step"], block["last_step"] + 1)
    return last


def has_blocks(connection: sqlite3.Connection, run_id: int) -> bool:
    row = connection.execute(
        f"SELECT 1 FROM line_block WHERE run_id = ? AND {IS_BLOCK} LIMIT 1",  # noqa: S608 - see there
        (run_id,),
    ).fetchone()
    return row is not None


def unpack(connection: sqlite3.Connection, run_id: int, number: int, end: int) -> None:
    """Store the lines of the blocks that have one of the lines `number` to `end` as rows."""
    with_these = "run_id = ? AND end_number > ? AND number < ?"
    blocks = connection.execute(f"{_SELECT} WHERE {with_these}", (run_id, number, end)).fetchall()
    _store_lines(connection, run_id, map(_Block._make, blocks))
    connection.execute(
        f"DELETE FROM line_block WHERE {with_these}",  # noqa: S608 - a constant
        (run_id, number, end),
    )


def cut_blocks(connection: sqlite3.Connection, run_id: int, last_step: int) -> None:
    """Delete the blocks behind a step; the lines of those that reach beyond it become rows."""
    connection.execute(
        "DELETE FROM line_block WHERE run_id = ? AND first_step > ?", (run_id, last_step)
    )
    with_step = "run_id = ? AND last_step > ?"
    blocks = connection.execute(f"{_SELECT} WHERE {with_step}", (run_id, last_step)).fetchall()
    _store_lines(connection, run_id, map(_Block._make, blocks))
    connection.execute(
        f"DELETE FROM line_block WHERE {with_step}",  # noqa: S608 - a constant
        (run_id, last_step),
    )


def _store_lines(connection: sqlite3.Connection, run_id: int, blocks: Iterable[_Block]) -> None:
    for block in blocks:
        lines = _lines(block, block.first_step, block.last_step + 1)
        connection.executemany(
            "INSERT INTO line VALUES (?, 'history', ?, ?, ?)",
            ((run_id, line.number, line.step, line.text) for line in lines),
        )


def _lines(block: _Block, low: int, high: int) -> Iterator[Line]:
    table = _table(block)
    if block.first_step < low or block.last_step >= high:
        step = pc.field("step")
        table = table.filter((step >= low) & (step < high))
    with held(2 * table.nbytes):
        yield from lines_of(table)


def _table(block: _Block) -> pa.Table:
    with pa.ipc.open_stream(block.lines) as stream:
        table = stream.read_all()
    arrays = [
        table.column("step"),
        ints(range(block.number, block.end_number)),
        table.column("text"),
    ]
    return pa.table(arrays, schema=line_tables.SCHEMA)
