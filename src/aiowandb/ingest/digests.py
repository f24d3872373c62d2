"""Digests of the rows of a run: a few numbers per column, independent of the batches."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from aiowandb.history.columns import Kind, kind_of
from aiowandb.ingest.lines import json_lines, short_float_texts, value_texts, with_steps
from aiowandb.wire import lenient
from aiowandb.wire.json_edit import alike
from aiowandb.wire.rows import STEP, plain_value

_NUMBERS = frozenset({Kind.INT, Kind.FLOAT})
_ENDS = frozenset({"least", "largest"})
_AS_FLOATS = {Kind.INT: pa.float64(), Kind.INTS: pa.list_(pa.float64())}


class ColumnDigest:
    """The number of values, their minimum and maximum, and a checksum with the steps."""

    def __init__(self) -> None:
        self.values = 0
        self.least: float | None = None
        self.largest: float | None = None
        self._digest = blake2b(digest_size=12)

    def add(self, field: pa.Field[Any], column: pa.Array[Any], steps: pa.Array[Any]) -> None:
        self.values += len(column) - column.null_count
        if kind_of(field) in _NUMBERS:
            ends: Any = pc.min_max(column).as_py()
            if ends["min"] is not None:
                known = [value for value in (self.least, self.largest) if value is not None]
                self.least = min([ends["min"], *known])
                self.largest = max([ends["max"], *known])
        join: Any = pc.binary_join_element_wise
        texts = join(steps, _comparable(field, column), pa.scalar("\n"), pa.scalar(":"))
        self._digest.update("".join(texts.drop_null().to_pylist()).encode())

    def facts(self) -> Iterator[tuple[str, object]]:
        """The facts to compare, by name."""
        yield "values", self.values
        yield "least", plain_value(self.least)
        yield "largest", plain_value(self.largest)
        yield "checksum", self._digest.hexdigest()


class RowsDigest:
    """The digest of the rows of a run."""

    def __init__(self) -> None:
        self.rows = 0
        self.first: dict[str, Any] | None = None
        self.last: dict[str, Any] | None = None
        self.columns: dict[str, ColumnDigest] = {}

    def add(self, batch: pa.RecordBatch) -> None:
        """Add rows that follow the others."""
        if not batch.num_rows:
            return
        batch = with_steps(batch, self.rows)
        self.first = self.first or _row(batch, 0)
        self.last = _row(batch, batch.num_rows - 1)
        steps = pc.cast(batch.column(STEP), pa.string())
        for index, field in enumerate(batch.schema):
            column = batch.column(index)
            if column.null_count < len(column):
                known = self.columns.setdefault(field.name, ColumnDigest())
                known.add(field, column, steps)
        self.rows += batch.num_rows

    def differences(self, other: RowsDigest) -> Iterator[tuple[str, object, object]]:
        """The differences, first those of all rows, then those of columns."""
        yield from _unlike("rows", self.rows, other.rows)
        yield from _unlike_row("first row", self.first or {}, other.first or {})
        yield from _unlike_row("last row", self.last or {}, other.last or {})
        for name in {**self.columns, **other.columns}:
            here, there = self.columns.get(name), other.columns.get(name)
            if here is None or there is None:
                yield f"column {name}", "there" if here else None, "there" if there else None
                continue
            pairs = zip(here.facts(), there.facts(), strict=True)
            for (fact, one), (_, another) in pairs:
                if fact in _ENDS and None in (one, another):
                    # In exports, a column that is text in another run: the checksum has it.
                    continue
                yield from _unlike(f"column {name}: {fact}", one, another)


def _unlike(where: str, one: object, other: object) -> Iterator[tuple[str, object, object]]:
    # Compared as text, so that NaN equals NaN.
    if repr(one) != repr(other):
        yield where, one, other


def _unlike_row(
    where: str, one: dict[str, Any], other: dict[str, Any]
) -> Iterator[tuple[str, object, object]]:
    """What differs between two rows, without the rest of them."""
    unlike = [key for key in {**one, **other} if not alike(one.get(key), other.get(key))]
    if unlike:
        here, there = ({key: row.get(key) for key in unlike} for row in (one, other))
        yield where, here, there


def _comparable(field: pa.Field[Any], column: pa.Array[Any]) -> pa.Array[Any]:
    """The values as text. Integers become floats, which the other side may have."""
    kind = kind_of(field)
    if kind is Kind.JSON:
        texts = value_texts(field, column).to_pylist()
        return pa.array([text and _canonical(text) for text in texts], pa.string())
    if kind in _AS_FLOATS:
        try:
            column = pc.cast(column, _AS_FLOATS[kind])
            field = pa.field(field.name, column.type)
        except pa.ArrowInvalid:
            pass  # that would change values
    return value_texts(field, column, short_float_texts)


def _canonical(text: str) -> str:
    return lenient.dumps(plain_value(lenient.loads(text)), sort_keys=True)


def _row(batch: pa.RecordBatch, index: int) -> dict[str, Any]:
    row = lenient.loads_object(json_lines(batch.slice(index, 1))[0])
    return {key: plain_value(value) for key, value in sorted(row.items())}
