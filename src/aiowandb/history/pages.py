"""A page of history as W&B returned it, JSON rows or Parquet columns, and converted on demand.

Nested keys are dotted columns, or on demand one column of JSON text each.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc
from anyio.to_thread import run_sync

from aiowandb.history.columns import Kind, json_text, kind_of, with_strict_json
from aiowandb.history.decode import RowDecoder, decode_rows
from aiowandb.history.reading import Ends
from aiowandb.history.selection import Selection
from aiowandb.wire import lenient
from aiowandb.wire.dotted import parent_keys, split_name
from aiowandb.wire.rows import flat_row, plain_value

# The first rows of a page are made at once, as somebody may wait for them, and need no more.
_FIRST_ROWS = 50
_ROWS_PER_CHUNK = 1_000
_WITH_FLOATS = frozenset({Kind.FLOAT, Kind.FLOATS, Kind.JSON})


class Page(Protocol):
    """Selected rows of one run, in step order.

    `rows` yields them in chunks, so that the first ones need not wait for the others. `count`
    is how many rows there were before the selection; `ends` marks the first and the last of
    them, once the batches were made. `nbytes` is about how much memory it takes.
    """

    count: int
    ends: Ends

    @property
    def nbytes(self) -> int: ...

    def rows(self) -> Iterator[list[dict[str, Any]]]: ...

    async def batches(self) -> list[pa.RecordBatch]: ...


class JsonPage:
    """Rows that came as JSON texts, in one chunk or several."""

    def __init__(
        self,
        chunks: Sequence[Sequence[str]],
        selection: Selection,
        decoder: RowDecoder,
        text_keys: Collection[str] = (),
    ) -> None:
        self.count = sum(map(len, chunks))
        self.nbytes = sum(sum(map(len, chunk)) for chunk in chunks)
        self.ends = Ends()
        self._chunks = chunks
        self._selection = selection
        self._decoder = decoder
        self._text_keys = text_keys

    def rows(self) -> Iterator[list[dict[str, Any]]]:
        for texts in self._chunks:
            decoded = decode_rows(texts)
            for start, end in _chunks_of(len(decoded)):
                rows = [flat_row(row) for row in decoded[start:end]]
                yield list(self._selection.filter_rows(rows))

    async def batches(self) -> list[pa.RecordBatch]:
        return await run_sync(self._decode)

    def _decode(self) -> list[pa.RecordBatch]:
        # Chunk by chunk: the intermediate values of one fit into the CPU's cache.
        decoded = [self._decoder.batch(chunk, self._text_keys) for chunk in self._chunks]
        self.ends = Ends.of(decoded, self._selection)
        filtered = map(self._selection.filter_batch, decoded)
        batches = [batch for batch in filtered if batch is not None]
        if len(batches) > 1 and all(batch.schema.equals(batches[0].schema) for batch in batches):
            return pa.Table.from_batches(batches).combine_chunks().to_batches()
        return batches


class ParquetPage:
    """Rows that came as columns, nested keys already dotted; None if no row is selected."""

    def __init__(
        self,
        batch: pa.RecordBatch | None,
        count: int | None = None,
        ends: Ends | None = None,
        reader_bytes: int = 0,
    ) -> None:
        self.count = count if count is not None else 0 if batch is None else batch.num_rows
        self.ends = ends or Ends()
        self._batch = batch
        self._reader_bytes = reader_bytes

    @property
    def nbytes(self) -> int:
        return self._reader_bytes + (0 if self._batch is None else memory_of(self._batch))

    def rows(self) -> Iterator[list[dict[str, Any]]]:
        if self._batch is None:
            return
        names = self._batch.schema.names
        for start, end in _chunks_of(self._batch.num_rows):
            chunk = self._batch.slice(start, end - start)
            columns = [column_values(chunk, name) for name in names]
            yield [
                {name: value for name, value in zip(names, row, strict=True) if value is not None}
                for row in zip(*columns, strict=True)
            ]

    async def batches(self) -> list[pa.RecordBatch]:
        if self._batch is None:
            return []
        # JSON text has metadata that says so; to look only for that is quicker for wide rows.
        if any(field.metadata and kind_of(field) is Kind.JSON for field in self._batch.schema):
            return [await run_sync(with_strict_json, self._batch)]
        return [self._batch]


def memory_of(batch: pa.RecordBatch) -> int:
    """The memory that a batch keeps in use. `batch.nbytes` takes 100 times as long to find."""
    return int(batch.get_total_buffer_size())


def _chunks_of(rows: int) -> Iterator[tuple[int, int]]:
    start, end = 0, min(rows, _FIRST_ROWS)
    while start < rows:
        yield start, end
        start, end = end, min(rows, end + _ROWS_PER_CHUNK)


def column_values(batch: pa.RecordBatch, name: str) -> list[Any]:
    """The column as the values that rows have: JSON text parsed, 1.0 as 1."""
    column, field = batch.column(name), batch.schema.field(name)
    values: list[Any] = column.to_pylist()
    kind = kind_of(field)
    if kind is Kind.JSON and pa.types.is_string(field.type):
        values = [None if value is None else lenient.loads(value) for value in values]
    elif kind not in _WITH_FLOATS or _has_only_fractions(column):
        return values
    return [plain_value(value) for value in values]


def _has_only_fractions(column: pa.Array[Any]) -> bool:
    if not pa.types.is_floating(column.type):
        return False
    return pc.any(pc.equal(pc.floor(column), column)).as_py() is not True


def nested_as_json(batch: pa.RecordBatch) -> pa.RecordBatch:
    r"""The batch with the columns `val.loss`, `val.acc` as one column `val` of JSON text.

    A literal key with a dot, `val\.loss`, is not nested and stays a column of that name.
    """
    columns: dict[str, list[str]] = {}
    for name in batch.schema.names:
        columns.setdefault(next(iter(parent_keys(name)), name), []).append(name)
    fields, arrays = [], []
    for key, names in columns.items():
        if names == [key]:
            fields.append(batch.schema.field(key))
            arrays.append(batch.column(key))
        else:
            fields.append(Kind.JSON.field(key))
            arrays.append(_objects(names, batch))
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


def _objects(names: list[str], batch: pa.RecordBatch) -> pa.Array[Any]:
    columns = [column_values(batch, name) for name in names]
    paths = list(map(split_name, names))
    key = paths[0][0]
    texts = []
    for values in zip(*columns, strict=True):
        found: dict[str, Any] = {}
        for path, value in zip(paths, values, strict=True):
            if value is not None:
                _put(found, path, value)
        texts.append(json_text(found[key]) if found else None)
    return pa.array(texts, pa.string())


def _put(values: dict[str, Any], path: list[str], value: Any) -> None:
    for key in path[:-1]:
        below = values.setdefault(key, {})
        if not isinstance(below, dict):
            # The key has both a value and keys below it: the value gets an empty name.
            below = values[key] = {"": below}
        values = below
    below = values.get(path[-1])
    if isinstance(below, dict):
        below[""] = value
    else:
        values[path[-1]] = value


class RowsPage:
    """Rows of one run that are columns already, and have no steps to go on from."""

    def __init__(self, batch: pa.RecordBatch, count: int) -> None:
        self.count = count
        self.ends = Ends()
        self.nbytes = memory_of(batch)
        self._batch = batch

    def rows(self) -> Iterator[list[dict[str, Any]]]:
        yield self._batch.to_pylist()

    async def batches(self) -> list[pa.RecordBatch]:
        return [self._batch] if self._batch.num_rows else []
