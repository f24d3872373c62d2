"""A page of history as it came: JSON rows or Parquet columns, each given as the other on demand."""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property
from typing import Any, Protocol

import pyarrow as pa

from ..wire import lenient
from .columns import STEP, rows_to_batch


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
        return self._rows

    def to_batch(self) -> pa.RecordBatch:
        return rows_to_batch(self._rows)


class ParquetPage:
    """Rows that came as columns, nested keys already dotted."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        self._batch = batch

    def to_rows(self) -> list[dict[str, Any]]:
        return [
            {name: value for name, value in row.items() if value is not None}
            for row in self._batch.to_pylist()
        ]

    def to_batch(self) -> pa.RecordBatch:
        return self._batch


def _with_all(rows: list[dict[str, Any]], keys: Collection[str]) -> list[dict[str, Any]]:
    found = []
    for row in rows:
        values = {key: _get(row, key) for key in (STEP, *keys)}
        if all(value is not None for value in values.values()):
            found.append(values)
    return found


def _get(row: dict[str, Any], key: str) -> Any:
    """The value under a dotted name, which may also be a literal key with dots."""
    if key in row:
        return row[key]
    head, dot, tail = key.partition(".")
    while dot:
        inner = row.get(head)
        if isinstance(inner, dict) and (value := _get(inner, tail)) is not None:
            return value
        more, dot, tail = tail.partition(".")
        head = f"{head}.{more}"
    return None
