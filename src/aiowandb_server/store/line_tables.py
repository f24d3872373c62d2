"""History lines as Arrow tables: thousands of them at once, without an object for each."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from aiowandb_server.store.arrays import ints, strings
from aiowandb_server.store.metering import held
from aiowandb_server.store.records import Line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

# A chunk of lines is a row group of the columns of a segment.
ROWS_A_CHUNK = 50_000
_TEXT_A_CHUNK = 32 << 20
# Lines are decoded in pieces, which take little memory: one that was just used, and is fast.
_ROWS_A_PIECE = 2_048
_TEXT_A_PIECE = 2 << 20
# So many lines that come one by one become a table.
_LINES_AT_ONCE = 512
_TYPES: dict[str, pa.DataType] = {
    "step": pa.int64(),
    "number": pa.int64(),
    "text": pa.string(),
}
SCHEMA = pa.schema([pa.field(name, kind, nullable=False) for name, kind in _TYPES.items()])


def table_of(lines: Sequence[Line]) -> pa.Table:
    steps, numbers, texts = zip(*lines, strict=True)
    arrays: list[pa.Array[Any]] = [ints(steps), ints(numbers), strings(texts)]
    return pa.table(arrays, schema=SCHEMA)


def tables_of(lines: Iterable[Line]) -> Iterator[pa.Table]:
    """Lines that come one by one, as tables."""
    some: list[Line] = []
    size = 0
    for line in lines:
        some.append(line)
        size += sys.getsizeof(line.text)
        if len(some) == _LINES_AT_ONCE or size >= _TEXT_A_PIECE:
            with held(2 * size):
                table = table_of(some)
                some = []
                yield table
            size = 0
    if some:
        with held(2 * size):
            yield table_of(some)


def lines_of(table: pa.Table) -> Iterator[Line]:
    return map(Line, *(column.to_pylist() for column in table.columns))


def chunked(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in few tables, which are bounded in rows and text.

    A table counts as memory of the request while it is collected, and until the next one is taken.
    """
    waiting: list[pa.Table] = []
    rows = size = 0
    with ExitStack() as memory:
        for table in tables:
            for piece in _split(table, ROWS_A_CHUNK, _TEXT_A_CHUNK):
                if rows + piece.num_rows > ROWS_A_CHUNK or size + piece.nbytes > _TEXT_A_CHUNK:
                    if waiting:
                        yield pa.concat_tables(waiting)
                    memory.close()
                    waiting, rows, size = [], 0, 0
                memory.enter_context(held(2 * piece.nbytes))
                waiting.append(piece)
                rows += piece.num_rows
                size += piece.nbytes
        if waiting:
            yield pa.concat_tables(waiting)


def pieces(chunk: pa.Table) -> Iterator[pa.Table]:
    """The rows of a chunk, so many as are decoded at once."""
    return _split(chunk, _ROWS_A_PIECE, _TEXT_A_PIECE)


def _split(table: pa.Table, most_rows: int, most_bytes: int) -> Iterator[pa.Table]:
    """The table in parts of as many rows each, and of about so many bytes at most."""
    count = max(-(-table.num_rows // most_rows), -(-table.nbytes // most_bytes), 1)
    rows = max(1, -(-table.num_rows // count))
    for first in range(0, table.num_rows, rows):
        yield table.slice(first, rows)
