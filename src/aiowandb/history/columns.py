"""From JSON rows to Arrow columns, and the rule of their kinds.

The rule, for the values that one column has:

    all int                    INT (FLOAT where one does not fit 64 bits)
    int and float              FLOAT; the strings "NaN", "Infinity" and "-Infinity"
                               count as floats beside numbers, as W&B writes them so
    all bool                   BOOL
    all str                    TEXT
    all lists of numbers       INTS or FLOATS
    anything else, and mixes   JSON: each value as JSON text

Nested objects become columns named with dots. A media object (one with `_type`)
stays whole. `_step` comes first and is always there, the other columns in the order they are met.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import pyarrow as pa

from aiowandb.history.kinds import Kind
from aiowandb.wire import lenient
from aiowandb.wire.dotted import flattened

STEP = "_step"
_INT64 = range(-(2**63), 2**63)


def rows_to_batch(rows: Sequence[Mapping[str, Any]]) -> pa.RecordBatch:
    """Make a record batch of nested rows."""
    columns: dict[str, list[Any]] = {STEP: []}
    for index, row in enumerate(rows):
        for name, value in flattened(row):
            column = columns.setdefault(name, [])
            column.extend([None] * (index - len(column)))
            # A literal dotted key and a nested one may share a name; the first one has it.
            if len(column) == index:
                column.append(value)
    for column in columns.values():
        column.extend([None] * (len(rows) - len(column)))
    arrays = {name: to_column(column) for name, column in columns.items()}
    schema = pa.schema([kind.field(name) for name, (kind, _) in arrays.items()])
    return pa.RecordBatch.from_arrays([array for _, array in arrays.values()], schema=schema)


def to_column(values: Sequence[Any]) -> tuple[Kind, pa.Array]:
    """One column, by the rule above; None is null."""
    kind = _kind_of_values(values)
    if kind is Kind.FLOAT:
        values = [_number(value) for value in values]
    elif kind is Kind.FLOATS:
        values = [None if value is None else [float(item) for item in value] for value in values]
    elif kind is Kind.JSON:
        values = [None if value is None else json_text(value) for value in values]
    return kind, pa.array(values, kind.arrow)


def json_text(value: Any) -> str:
    """The value as JSON; NaN and the infinities as the strings that W&B uses for them."""
    return orjson.dumps(_speakable(value)).decode()


def _kind_of_values(values: Sequence[Any]) -> Kind:
    kinds = {type(value) for value in values if value is not None}
    if not kinds:
        return Kind.NULL
    if kinds == {bool}:
        return Kind.BOOL
    if kinds == {str}:
        return Kind.TEXT
    if kinds == {list}:
        return _kind_of_lists(values)
    if kinds == {int} and all(value is None or value in _INT64 for value in values):
        return Kind.INT
    if kinds <= {int, float, str} and all(_is_number(value) for value in values):
        return Kind.FLOAT
    return Kind.JSON


def _kind_of_lists(values: Sequence[Any]) -> Kind:
    items = [item for value in values if value is not None for item in value]
    kinds = {type(item) for item in items}
    if kinds == {int} and all(item in _INT64 for item in items):
        return Kind.INTS
    return Kind.FLOATS if kinds and kinds <= {int, float} else Kind.JSON


def _is_number(value: Any) -> bool:
    return not isinstance(value, str) or lenient.as_float(value) is not None


def _number(value: Any) -> float | None:
    if isinstance(value, str):
        return lenient.as_float(value)
    return None if value is None else float(value)


def _speakable(value: Any) -> Any:
    if isinstance(value, float) and value - value != 0:  # NaN or infinite
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {key: _speakable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_speakable(item) for item in value]
    return value if not isinstance(value, int) or value in _INT64 else float(value)
