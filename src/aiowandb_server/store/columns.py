"""History rows as Arrow columns, the format in which finished runs are exported.

Each flattened key is a column: int64 if all values are such integers, otherwise float64; bool,
string, list of numbers. Media and other lists have Arrow's nested types, if these return the same
values. A key with values of several types is a string column of JSON text, marked by the field
metadata `encoding: json`.

Each chunk of rows is converted separately, and the chunks are cast to a common type at the end, so
that a run is decoded once; until then its values are Arrow data, in a temporary file if there are
many of them.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import pyarrow as pa

from aiowandb_server.store.arrays import booleans, floats, ints, strings
from aiowandb_server.store.metering import charge
from aiowandb_server.store.rows import MAX_CELLS, MISSING, NON_FINITE, Missing, types_of
from aiowandb_server.store.spool import BatchSpool

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Self

_TYPES: dict[str, pa.DataType] = {
    "null": pa.string(),
    "int": pa.int64(),
    "float": pa.float64(),
    "bool": pa.bool_(),
    "string": pa.string(),
    "token": pa.string(),
    "ints": pa.list_(pa.int64()),
    "floats": pa.list_(pa.float64()),
    "json": pa.string(),
}
_JSON = {"encoding": "json"}
# Of these kinds the values can be converted in pieces of any size, with the same result.
_PLAIN = frozenset({"null", "int", "float", "bool", "string", "token"})
_NUMBERS = frozenset({"int", "float", "token"})
_ABSENT = frozenset({type(None), Missing})
_INT64 = range(-(2**63), 2**63)
# Arrow refuses to read schemas with types nested about sixty levels deep.
_MAX_NESTED = 30
# A column of a chunk, besides its values: here, in Parquet's writer and in the end of the file.
_SIZE_OF_COLUMN = 2_500


_Column: TypeAlias = "tuple[str, pa.Array[Any]]"


class ColumnChunk(NamedTuple):
    """Some rows as arrays, each of the narrowest type for its values, with the name of its kind."""

    steps: pa.Array[Any]
    columns: Mapping[str, _Column]

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for _, array in self.columns.values())

    @classmethod
    def of(
        cls,
        steps: Sequence[int],
        columns: Mapping[str, Sequence[Any]],
        types: Mapping[str, set[type]],
    ) -> Self | None:
        """The piece, or None if the types of other rows may matter to it."""
        arrays = {}
        for key, values in columns.items():
            if key == "_step":
                continue
            arrays[key] = _array(values, types[key])
            if arrays[key][0] not in _PLAIN:
                return None
        return cls(ints(steps, has_none=False), arrays)


class ColumnBuilder:
    """Collects rows in chunks; `tables()` gives them with a common schema. To be closed."""

    def __init__(self) -> None:
        # The kinds of each chunk, which has its columns in this order, behind the steps.
        self._chunks: list[dict[str, str]] = []
        self._spool = BatchSpool()
        self._kinds: dict[str, set[str]] = {}
        self._types = dict(_TYPES)

    def add(self, steps: Sequence[int], columns: Mapping[str, Sequence[Any]]) -> None:
        """Add a chunk of rows with these steps; see `columns_of`."""
        types = types_of(columns)
        arrays = {key: _array(columns[key], types[key]) for key in columns if key != "_step"}
        self._add(ints(steps, has_none=False), arrays)

    def add_pieces(self, pieces: Sequence[ColumnChunk]) -> bool:
        """Add a chunk of rows that was converted in pieces, if that makes no difference."""
        found: dict[str, set[str]] = {}
        for piece in pieces:
            for key, (kind, _) in piece.columns.items():
                found.setdefault(key, set()).add(kind)
        kinds = {key: _common(some) for key, some in found.items()}
        if not _PLAIN.issuperset(kinds.values()):
            return False
        steps = pa.concat_arrays([piece.steps for piece in pieces])
        if len(steps) * len(kinds) > 2 * MAX_CELLS:
            # Most of the cells would be empty.
            for piece in pieces:
                self._add(piece.steps, piece.columns)
            return True
        self._add(
            steps, {key: (kind, self._joined(pieces, key, kind)) for key, kind in kinds.items()}
        )
        return True

    def _add(self, steps: pa.Array[Any], columns: Mapping[str, _Column]) -> None:
        charge(_SIZE_OF_COLUMN * len(columns))
        for key, (kind, array) in columns.items():
            self._kinds.setdefault(key, set()).add(kind)
            self._types.setdefault(kind, array.type)
        arrays = [steps, *(array for _, array in columns.values())]
        self._spool.add(pa.RecordBatch.from_arrays(arrays, ["_step", *columns]))
        self._chunks.append({key: kind for key, (kind, _) in columns.items()})

    def _joined(self, pieces: Sequence[ColumnChunk], key: str, kind: str) -> pa.Array[Any]:
        arrays = []
        for piece in pieces:
            known, array = piece.columns.get(key) or ("null", pa.nulls(len(piece.steps)))
            arrays.append(self._converted(known, array, kind))
        return pa.concat_arrays(arrays)

    def close(self) -> None:
        self._spool.close()

    def schema(self) -> pa.Schema:
        """The schema of all rows."""
        kinds = self._common_kinds()
        return pa.schema(
            [pa.field("_step", pa.int64(), nullable=False)]
            + [
                pa.field(key, self._types[kind], metadata=_JSON if kind == "json" else None)
                for key, kind in kinds.items()
            ]
        )

    def tables(self) -> Iterator[pa.Table]:
        """The rows, one chunk after another."""
        kinds, schema = self._common_kinds(), self.schema()
        for whole, chunk in zip(self._spool, self._chunks, strict=True):
            places = {key: place for place, key in enumerate(chunk, start=1)}
            for batch in _slices(whole, len(kinds)):
                charge(_SIZE_OF_COLUMN * (len(kinds) - len(chunk)))
                arrays = [batch.column(0)]
                for key, kind in kinds.items():
                    if key in chunk:
                        arrays.append(self._converted(chunk[key], batch.column(places[key]), kind))
                    else:
                        arrays.append(pa.nulls(batch.num_rows, self._types[kind]))  # type: ignore[call-overload]
                yield pa.table(arrays, schema=schema)

    def _common_kinds(self) -> dict[str, str]:
        return {key: _common(found) for key, found in sorted(self._kinds.items())}

    def _converted(self, kind: str, array: pa.Array[Any], target: str) -> pa.Array[Any]:
        if kind == "null":
            return pa.nulls(len(array), self._types[target])  # type: ignore[call-overload,no-any-return]
        if target == "string" or kind == target:
            return array
        if target == "float" and kind == "token":
            numbers = [None if value is None else NON_FINITE[value] for value in array.to_pylist()]
            return floats(numbers)
        if target == "json":
            return strings([_json(value) for value in array.to_pylist()])
        return array.cast(self._types[target], safe=False)


def _slices(batch: pa.RecordBatch, columns: int) -> Iterator[pa.RecordBatch]:
    """The rows in as many parts as there must be for so many columns."""
    rows = max(1, 2 * MAX_CELLS // max(1, columns))
    for first in range(0, max(1, batch.num_rows), rows):
        yield batch.slice(first, rows)


def is_json(field: pa.Field[Any]) -> bool:
    """Whether this is a column of JSON text."""
    return (field.metadata or {}).get(b"encoding") == b"json"


def _array(values: Sequence[Any], types: set[type]) -> _Column:
    """The narrowest type for the values, which have these types, and an array of it."""
    if Missing in types:
        values = [None if value is MISSING else value for value in values]
    has_none = not types.isdisjoint(_ABSENT)
    types = types - _ABSENT
    try:
        if not types:
            return "null", pa.nulls(len(values), pa.string())
        if types == {bool}:
            return "bool", booleans(values, has_none=has_none)
        if types == {int} and all(value is None or value in _INT64 for value in values):
            return "int", ints(values, has_none=has_none)
        if types <= {int, float}:
            # As in W&B, large integers are rounded.
            return "float", floats(values, has_none=has_none)
        if types == {str}:
            tokens = all(value is None or value in NON_FINITE for value in values)
            return "token" if tokens else "string", strings(values, has_none=has_none)
        if types <= {int, float, str}:
            numbers = [NON_FINITE[value] if type(value) is str else value for value in values]
            return "float", floats(numbers, has_none=has_none)
        if types == {list}:
            return _list_array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, KeyError, UnicodeEncodeError):
        pass  # no common type: integers beyond 64 bits, or numbers mixed with text
    if types <= {list, dict}:
        return _nested_array(values)
    return "json", strings([_json(value) for value in values])


def _nested_array(values: Sequence[Any]) -> tuple[str, pa.Array[Any]]:
    try:
        array = pa.array(values)
        # Parquet does not support empty structs or the null type.
        storable = _depth(array.type) <= _MAX_NESTED and not any(
            word in str(array.type) for word in ("null", "struct<>")
        )
        if storable and _equal(array.to_pylist(), list(values)):
            return f"nested {array.type}", array
    except (pa.ArrowException, OverflowError, UnicodeEncodeError):
        pass
    return "json", strings([_json(value) for value in values])


def _depth(kind: pa.DataType) -> int:
    fields = [kind.field(place) for place in range(kind.num_fields)]
    return 1 + max((_depth(field.type) for field in fields), default=0)


def _list_array(values: Sequence[Any]) -> tuple[str, pa.Array[Any]]:
    inner = {type(item) for value in values if value is not None for item in value}
    if inner == {int} and all(item in _INT64 for value in values for item in value or ()):
        return "ints", pa.array(values, pa.list_(pa.int64()))
    if inner <= {int, float}:
        lists = [None if value is None else [float(item) for item in value] for value in values]
        return "floats", pa.array(lists, pa.list_(pa.float64()))
    raise pa.ArrowTypeError("not a list of numbers")


def _common(kinds: set[str]) -> str:
    found = kinds - {"null"}
    if not found:
        return "null"
    if found <= {"string", "token"}:
        return "string"
    if len(found) == 1:
        return next(iter(found))
    if found <= _NUMBERS:
        return "float"
    return "floats" if found <= {"ints", "floats"} else "json"


def _equal(found: list[Any], values: list[Any]) -> bool:
    # Arrow converts False among floats to 0.0, which is equal to it in Python.
    return found == values and _count_booleans(found) == _count_booleans(values)


def _count_booleans(values: list[Any]) -> int:
    text = json.dumps(values)
    return text.count("true") + text.count("false")


def _json(value: object) -> str | None:
    return None if value is None else json.dumps(value, separators=(",", ":"))
