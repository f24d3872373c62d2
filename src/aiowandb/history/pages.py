"""A page of history as it came: JSON rows or Parquet columns, each given as the other on demand."""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property
from typing import Any, Protocol

import pyarrow as pa

from aiowandb.history.columns import STEP, rows_to_batch
from aiowandb.history.kinds import Kind, kind_of
from aiowandb.wire import lenient
from aiowandb.wire.dotted import find, flattened


class Page(Protocol):
    """Some rows of one run, in step order."""

    def to_rows(self) -> list[dict[str, Any]]: ...

    def to_batch(self) -> pa.RecordBatch: ...


class JsonPage:
    """Rows that came as JSON texts."""

    def __init__(self, texts: list[str], keys: Collection[str] | None = None) -> None:
        self._texts = texts
        self._keys = keys

    @cached_property
    def _rows(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = [lenient.loads(text) for text in self._texts]
        rows.sort(key=lambda row: row.get(STEP, -1))
        return rows if self._keys is None else _with_all(rows, self._keys)

    def to_rows(self) -> list[dict[str, Any]]:
        return [dict(flattened(row)) for row in self._rows]

    def to_batch(self) -> pa.RecordBatch:
        return rows_to_batch(self._rows)


class ParquetPage:
    """Rows that came as columns, nested keys already dotted."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        self._batch = batch

    def to_rows(self) -> list[dict[str, Any]]:
        columns = {field.name: _values(field, self._batch) for field in self._batch.schema}
        names = list(columns)
        return [
            {name: value for name, value in zip(names, row, strict=True) if value is not None}
            for row in zip(*columns.values(), strict=True)
        ]

    def to_batch(self) -> pa.RecordBatch:
        return self._batch


def _values(field: pa.Field, batch: pa.RecordBatch) -> list[Any]:
    values: list[Any] = batch.column(field.name).to_pylist()
    if kind_of(field) is Kind.JSON and pa.types.is_string(field.type):
        return [None if value is None else lenient.loads(value) for value in values]
    return values


def _with_all(rows: list[dict[str, Any]], keys: Collection[str]) -> list[dict[str, Any]]:
    found = []
    for row in rows:
        places = {key: find(row, key) for key in (STEP, *keys)}
        values = {key: place[0][place[1]] for key, place in places.items() if place}
        if len(values) == len(places) and None not in values.values():
            found.append(values)
    return found
