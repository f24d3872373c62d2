r"""From JSON rows to Arrow columns: the kinds of columns, and which kind a column gets.

           JSON
        /   |   \         FLOAT BOOL TEXT FLOATS
       |              |
      INT            INTS
        \   |   /    /
           NULL

`meet` goes up in this picture to the first kind that holds both without losing a
value: ints and floats become floats; values that clash are kept as JSON text.

The rule for the values of one column:

    all int                    INT (FLOAT where one does not fit 64 bits)
    int and float              FLOAT; the strings "NaN", "Infinity" and "-Infinity"
                               count as floats beside numbers, as W&B may write them so,
                               but not where it says that strings were logged
    all bool                   BOOL
    all str                    TEXT
    all lists of numbers       INTS or FLOATS
    anything else, and mixes   JSON: each value as JSON text

Nested objects become columns named with dots. A media object (one with `_type`)
stays one value. `_step` comes first, the other columns in the order of their first value.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from enum import Enum
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from aiowandb.errors import ServerError
from aiowandb.wire import lenient
from aiowandb.wire.dotted import flattened
from aiowandb.wire.rows import STEP

# Plain strings and JSON text are both Arrow strings: the field's metadata says which.
_JSON_MARK = {b"encoding": b"json"}


class Kind(Enum):
    """The kind of all values of a column; any may be null."""

    NULL = "null"
    BOOL = "bool"
    INT = "int"
    FLOAT = "float"
    TEXT = "text"
    INTS = "ints"
    FLOATS = "floats"
    JSON = "json"

    @property
    def arrow(self) -> pa.DataType:
        return _ARROW[self]

    def field(self, name: str) -> pa.Field[Any]:
        return pa.field(name, self.arrow, metadata=_JSON_MARK if self is Kind.JSON else None)


_ARROW: dict[Kind, pa.DataType] = {
    Kind.NULL: pa.null(),
    Kind.BOOL: pa.bool_(),
    Kind.INT: pa.int64(),
    Kind.FLOAT: pa.float64(),
    Kind.TEXT: pa.string(),
    Kind.INTS: pa.list_(pa.int64()),
    Kind.FLOATS: pa.list_(pa.float64()),
    Kind.JSON: pa.string(),
}

_UP = {
    Kind.NULL: (Kind.NULL,),
    Kind.INT: (Kind.INT, Kind.FLOAT),
    Kind.INTS: (Kind.INTS, Kind.FLOATS),
}


def meet(one: Kind, other: Kind) -> Kind:
    """The first kind that holds the values of both.

    >>> meet(Kind.INT, Kind.FLOAT)
    <Kind.FLOAT: 'float'>
    """
    if one is other or other is Kind.NULL:
        return one
    if one is Kind.NULL:
        return other
    if other in _UP.get(one, ()):
        return other
    return one if one in _UP.get(other, ()) else Kind.JSON


def kind_of(field: pa.Field[Any]) -> Kind:
    """The kind of a column, also of one in a Parquet file that W&B wrote."""
    kind = field.type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_null(kind):
        return Kind.NULL
    if pa.types.is_boolean(kind):
        return Kind.BOOL
    if pa.types.is_integer(kind):
        return Kind.INT
    if pa.types.is_floating(kind):
        return Kind.FLOAT
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return Kind.JSON if (field.metadata or {}).items() >= _JSON_MARK.items() else Kind.TEXT
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        if pa.types.is_integer(kind.value_type):
            return Kind.INTS
        if pa.types.is_floating(kind.value_type):
            return Kind.FLOATS
    return Kind.JSON


_INT64 = range(-(2**63), 2**63)
_NONE = type(None)
_SAMPLED = 3


def rows_to_batch(
    rows: Sequence[Mapping[str, Any]],
    first: Sequence[str] = (STEP,),
    text_keys: Collection[str] = (),
) -> pa.RecordBatch:
    """Make a record batch of nested rows, with the columns `first` first.

    Strings were logged under `text_keys`.
    """
    flat = [flattened(row) for row in rows]
    names = dict.fromkeys((*first, *(name for row in flat for name in row)))
    columns = {name: [row.get(name) for row in flat] for name in names}
    return columns_to_batch(columns, text_keys=text_keys)


def columns_to_batch(
    columns: Mapping[str, Sequence[Any]],
    numbers: Collection[str] = (),
    text_keys: Collection[str] = (),
) -> pa.RecordBatch:
    """Make a record batch of columns; None is null, and columns of only nulls are left out.

    Columns in `numbers` are known to have only numbers and None.
    """
    fields, arrays = [], []
    for name, values in columns.items():
        if name in numbers:
            kind, array = _floats(values)
        else:
            kind, array = to_column(values, has_text=name in text_keys)
        if name == STEP and kind is not Kind.INT:
            kind, array = Kind.INT, _steps(array)
        if kind is not Kind.NULL:
            # A name that is not UTF-8 cannot be written, and "?" would merge different names.
            fields.append(kind.field(name.encode(errors="backslashreplace").decode()))
            arrays.append(array)
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


def to_column(values: Sequence[Any], *, has_text: bool = False) -> tuple[Kind, pa.Array[Any]]:
    """One column by the rule above; None is null."""
    types = set(map(type, values))
    types.discard(_NONE)
    try:
        if len(types) == 1:
            return _of_one_type(types.pop(), values)
        if types == {int, float}:
            return Kind.FLOAT, pa.array(values, pa.float64())
    except (pa.ArrowException, OverflowError, UnicodeEncodeError):
        pass  # integers that Arrow cannot hold exactly, text that is not UTF-8
    return _of_any(values, has_text=has_text)


def _steps(array: pa.Array[Any]) -> pa.Array[Any]:
    try:
        return array.cast(pa.int64())
    except pa.ArrowException as error:
        raise ServerError(f"W&B returned an invalid _step: {error}.", error) from error


def _floats(values: Sequence[Any]) -> tuple[Kind, pa.Array[Any]]:
    """A column of numbers: if one is a float, the types of the others do not matter."""
    if any(type(value) is float for value in values[:_SAMPLED]):
        with suppress(pa.ArrowException):
            return Kind.FLOAT, pa.array(values, pa.float64())
    return to_column(values)


def json_text(value: Any) -> str:
    """The value as JSON; NaN and the infinities as the strings that W&B writes for them."""
    try:
        value = _without_nan(value)
        try:
            return orjson.dumps(value).decode()
        except TypeError:  # half a surrogate pair, a very large integer, or deep nesting
            return json.dumps(value, separators=(",", ":"))
    except RecursionError as error:
        raise ServerError("W&B returned a value that is nested too deeply.", error) from error


def with_strict_json(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with JSON text that any JSON parser accepts: without bare NaN."""
    for index, field in enumerate(batch.schema):
        column = batch.column(index)
        if kind_of(field) is not Kind.JSON or not pa.types.is_string(field.type):
            continue
        suspects = pc.match_substring_regex(column, "NaN|Infinity")
        if pc.any(suspects).as_py():
            texts = [
                json_text(lenient.loads(text)) if text and is_suspect else text
                for text, is_suspect in zip(column.to_pylist(), suspects.to_pylist(), strict=True)
            ]
            batch = batch.set_column(index, field, pa.array(texts, pa.string()))
    return batch


def _of_one_type(kind: type, values: Sequence[Any]) -> tuple[Kind, pa.Array[Any]]:
    if kind is float:
        return Kind.FLOAT, pa.array(values, pa.float64())
    if kind is int:
        return Kind.INT, pa.array(values, pa.int64())
    if kind is bool:
        return Kind.BOOL, pa.array(values, pa.bool_())
    if kind is str:
        return Kind.TEXT, pa.array(values, pa.string())
    return _of_any(values)


def _of_any(values: Sequence[Any], *, has_text: bool = False) -> tuple[Kind, pa.Array[Any]]:
    kind = _kind_of_values(values, has_text=has_text)
    try:
        if kind is Kind.FLOAT:
            return kind, pa.array(list(map(_number, values)), kind.arrow)
        if kind is Kind.FLOATS:
            lists = [None if value is None else list(map(float, value)) for value in values]
            return kind, pa.array(lists, kind.arrow)
    except OverflowError:
        kind = Kind.JSON  # an integer that is too large for a float
    if kind is Kind.JSON:
        values = [None if value is None else json_text(value) for value in values]
    elif kind is Kind.TEXT:
        values = [value and value.encode(errors="replace").decode() for value in values]
    return kind, pa.array(values, kind.arrow)


def _kind_of_values(values: Sequence[Any], *, has_text: bool) -> Kind:
    types = set(map(type, values)) - {_NONE}
    if not types:
        return Kind.NULL
    if types == {str}:
        return Kind.TEXT
    if types == {list}:
        return _kind_of_lists(values)
    if types <= {int, float}:
        return Kind.FLOAT
    if types <= {int, float, str} and not has_text and all(map(_is_number, values)):
        return Kind.FLOAT
    return Kind.JSON


def _kind_of_lists(values: Sequence[Any]) -> Kind:
    items = [item for value in values if value is not None for item in value]
    types = set(map(type, items))
    if types == {int} and all(item in _INT64 for item in items):
        return Kind.INTS
    return Kind.FLOATS if types and types <= {int, float} else Kind.JSON


def _is_number(value: Any) -> bool:
    return not isinstance(value, str) or lenient.as_float(value) is not None


def _number(value: Any) -> float | None:
    if isinstance(value, str):
        return lenient.as_float(value)
    return None if value is None else float(value)


def _without_nan(value: Any) -> Any:
    if isinstance(value, float) and value - value != 0:  # NaN or infinite
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return value
