"""A page of history as it came: JSON rows or Parquet columns, each given as the other on demand.

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

_ROWS_AT_ONCE = 1_000
_WITH_FLOATS = frozenset({Kind.FLOAT, Kind.FLOATS, Kind.JSON})


class Page(Protocol):
    """Some rows of one run, in step order, as they were selected.

    As rows they are made some at a time: whoever takes the first waits for no others.
    `count` is how many there were before some were selected; `ends` marks the first and the
    last of them, once the batches have been made.
    """

    count: int
    ends: Ends

    def rows(self) -> Iterator[list[dict[str, Any]]]: ...

    async def batches(self) -> list[pa.RecordBatch]: ...


class JsonPage:
    """Rows that came as JSON texts, in one piece or several."""

    def __init__(
        self,
        pieces: Sequence[Sequence[str]],
        selection: Selection,
        decoder: RowDecoder,
        text_keys: Collection[str] = (),
    ) -> None:
        self.count = sum(map(len, pieces))
        self.ends = Ends()
        self._pieces = pieces
        self._selection = selection
        self._decoder = decoder
        self._text_keys = text_keys

    def rows(self) -> Iterator[list[dict[str, Any]]]:
        for texts in self._pieces:
            rows = [flat_row(row) for row in decode_rows(texts)]
            yield list(self._selection.of_rows(rows))

    async def batches(self) -> list[pa.RecordBatch]:
        return await run_sync(self._decode)

    def _decode(self) -> list[pa.RecordBatch]:
        # Piece by piece: what is made of one on the way to columns fits into the CPU's cache.
        decoded = [self._decoder.batch(piece, self._text_keys) for piece in self._pieces]
        self.ends = Ends.of(decoded, self._selection)
        wanted = [batch for one in decoded if (batch := self._selection.of_batch(one)) is not None]
        if len(wanted) > 1 and all(batch.schema.equals(wanted[0].schema) for batch in wanted):
            return pa.Table.from_batches(wanted).combine_chunks().to_batches()  # type: ignore[no-any-return]
        return wanted


class ParquetPage:
    """Rows that came as columns, nested keys already dotted; without a batch none is selected."""

    def __init__(
        self, batch: pa.RecordBatch | None, count: int | None = None, ends: Ends | None = None
    ) -> None:
        self.count = count if count is not None else 0 if batch is None else batch.num_rows
        self.ends = ends or Ends()
        self._batch = batch

    def rows(self) -> Iterator[list[dict[str, Any]]]:
        if self._batch is None:
            return
        names = self._batch.schema.names
        for start in range(0, self._batch.num_rows, _ROWS_AT_ONCE):
            some = self._batch.slice(start, _ROWS_AT_ONCE)
            columns = [column_values(some, name) for name in names]
            yield [
                {name: value for name, value in zip(names, row, strict=True) if value is not None}
                for row in zip(*columns, strict=True)
            ]

    async def batches(self) -> list[pa.RecordBatch]:
        if self._batch is None:
            return []
        if any(kind_of(field) is Kind.JSON for field in self._batch.schema):
            return [await run_sync(with_strict_json, self._batch)]
        return [self._batch]


def column_values(batch: pa.RecordBatch, name: str) -> list[Any]:
    """The column as the values that rows have: JSON text as what it says, 1.0 as 1."""
    column, field = batch.column(name), batch.schema.field(name)
    values: list[Any] = column.to_pylist()
    kind = kind_of(field)
    if kind is Kind.JSON and pa.types.is_string(field.type):
        values = [None if value is None else lenient.loads(value) for value in values]
    elif kind not in _WITH_FLOATS or _has_fractions_only(column):
        return values
    return [plain_value(value) for value in values]


def _has_fractions_only(column: pa.Array) -> bool:
    if not pa.types.is_floating(column.type):
        return False
    return pc.any(pc.equal(pc.floor(column), column)).as_py() is not True


def nested_as_json(batch: pa.RecordBatch) -> pa.RecordBatch:
    r"""The batch with the columns `val.loss`, `val.acc` as one column `val` of JSON text.

    A literal key with a dot, `val\.loss`, is no nest and stays a column by that name.
    """
    heads: dict[str, list[str]] = {}
    for name in batch.schema.names:
        heads.setdefault(next(iter(parent_keys(name)), name), []).append(name)
    fields, arrays = [], []
    for head, names in heads.items():
        if names == [head]:
            fields.append(batch.schema.field(head))
            arrays.append(batch.column(head))
        else:
            fields.append(Kind.JSON.field(head))
            arrays.append(_objects(names, batch))
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


def _objects(names: list[str], batch: pa.RecordBatch) -> pa.Array:
    columns = [column_values(batch, name) for name in names]
    paths = list(map(split_name, names))
    head = paths[0][0]
    texts = []
    for values in zip(*columns, strict=True):
        found: dict[str, Any] = {}
        for path, value in zip(paths, values, strict=True):
            if value is not None:
                _put(found, path, value)
        texts.append(json_text(found[head]) if found else None)
    return pa.array(texts, pa.string())


def _put(values: dict[str, Any], path: list[str], value: Any) -> None:
    for key in path[:-1]:
        below = values.setdefault(key, {})
        if not isinstance(below, dict):
            # A key that has both a value and keys below it: the value goes under no name.
            below = values[key] = {"": below}
        values = below
    below = values.get(path[-1])
    if isinstance(below, dict):
        below[""] = value
    else:
        values[path[-1]] = value
