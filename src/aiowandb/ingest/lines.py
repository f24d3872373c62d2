"""Converts Arrow columns to the JSON lines of W&B's file stream, column by column.

Each column becomes a column of texts like `"loss":0.5`, which Arrow joins: there is no dict per
row. Null means that the row does not have the key.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import accumulate
from typing import Any, TypeAlias

import msgspec
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from aiowandb.errors import RowError
from aiowandb.history.columns import Kind, kind_of
from aiowandb.wire import lenient
from aiowandb.wire.dotted import parent_keys, split_name
from aiowandb.wire.rows import STEP

# How Arrow and W&B's client write NaN and the infinities. "-0" would be parsed as the integer 0.
_WORDS = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity", "-0": "-0.0"}
# Characters that must be escaped in JSON strings.
_TO_ESCAPE = r'["\\\x00-\x1f]'

# Objects are built one in the other, which Python does not do without end.
_DEEPEST = 300

# The members of an object: a key with a column of texts, or with members of its own.
_Members: TypeAlias = "list[tuple[str, pa.Array[Any] | _Members]]"


def json_lines(batch: pa.RecordBatch, literal: Collection[str] = ()) -> list[str]:
    """A line of JSON for each row of the batch.

    A dotted name is a nested key, unless it is in `literal`.
    """
    nested = (name for name in batch.schema.names if name not in literal)
    deepest = max(nested, key=lambda name: name.count("."), default="")
    if deepest.count(".") > _DEEPEST:
        raise RowError(f"The key {deepest[:80]}... is nested too deeply.", key=deepest, value=None)
    members: _Members = []
    nests: dict[tuple[str, ...], _Members] = {(): members}
    for index, field in enumerate(batch.schema):
        texts = value_texts(field, batch.column(index))
        is_literal = field.name in literal or _is_beside_its_nest(batch, field.name)
        path = [field.name] if is_literal else split_name(field.name)
        _nest(nests, tuple(path[:-1])).append((path[-1], texts))
    return [line or "{}" for line in _objects(members).to_pylist()]


def with_steps(batch: pa.RecordBatch, first: int) -> pa.RecordBatch:
    """The batch with steps; rows without steps are numbered from `first`."""
    if STEP in batch.schema.names:
        return batch
    steps = _integers(range(first, first + batch.num_rows))
    schema = pa.schema([pa.field(STEP, pa.int64()), *batch.schema])
    return pa.RecordBatch.from_arrays([steps, *batch.columns], schema=schema)


def _is_beside_its_nest(batch: pa.RecordBatch, name: str) -> bool:
    """Whether a row has both `val` and `val.acc`, so that the latter cannot be nested."""
    return any(
        pc.any(pc.and_(batch.column(nest).is_valid(), batch.column(name).is_valid())).as_py()
        for nest in parent_keys(name)
        if nest in batch.schema.names
    )


def float_texts(column: pa.Array[Any]) -> pa.Array[Any]:
    """Numbers with a point, so that 1.0 does not arrive as the integer 1."""
    column = pc.cast(column, pa.float64())
    values = column.buffers()[1]
    if not len(column) or values is None:
        return pa.nulls(len(column), pa.string())
    # This takes half of the time that Arrow takes to write them.
    numbers = memoryview(values).cast("d")[column.offset : column.offset + len(column)]
    written = orjson.dumps(numbers.tolist())
    texts: pa.Array[Any] = pc.split_pattern(_texts([written[1:-1]]), ",").values
    if pc.all(pc.is_finite(column), skip_nulls=False).as_py():
        return texts
    return _where(column.is_valid(), pc.coalesce(_words(pc.cast(column, pa.string())), texts))


def short_float_texts(column: pa.Array[Any]) -> pa.Array[Any]:
    """Numbers as text that is the same for 1.0 and for the integer 1."""
    texts = pc.cast(pc.cast(column, pa.float64()), pa.string())
    return pc.coalesce(_words(texts), texts)


def _words(texts: pa.Array[Any]) -> pa.Array[Any]:
    """What W&B's client writes in place of these texts of Arrow; null for the others."""
    sent, written = (_texts([word.encode() for word in some]) for some in (_WORDS.values(), _WORDS))
    return pc.take(sent, pc.index_in(texts, written))


def value_texts(
    field: pa.Field[Any],
    column: pa.Array[Any],
    floats: Callable[[pa.Array[Any]], pa.Array[Any]] = float_texts,
) -> pa.Array[Any]:
    """The values of the column as JSON text; null stays null."""
    if isinstance(column, pa.DictionaryArray):
        column = column.dictionary_decode()
    kind = kind_of(field)
    if kind in (Kind.BOOL, Kind.INT):
        return pc.cast(column, pa.string())
    if kind is Kind.FLOAT:
        return floats(column)
    if kind is Kind.TEXT:
        return _strings(column)
    if kind in (Kind.INTS, Kind.FLOATS):
        return _lists(column, floats if kind is Kind.FLOATS else _ints)
    if kind is Kind.NULL:
        return pa.nulls(len(column), pa.string())
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return pc.cast(column, pa.string())
    values = column.to_pylist()  # of types that W&B does not make: times, decimals, structs
    return pa.array([None if v is None else _of_any(v) for v in values], pa.string())


def _nest(nests: dict[tuple[str, ...], _Members], path: tuple[str, ...]) -> _Members:
    if path not in nests:
        below: _Members = []
        nests[path] = below
        _nest(nests, path[:-1]).append((path[-1], below))
    return nests[path]


def _objects(members: _Members) -> pa.Array[Any]:
    """The objects with these members; null where all members are missing."""
    columns = [
        (lenient.dumps(key) + ":", _objects(below) if isinstance(below, list) else below)
        for key, below in members
    ]
    if columns and not any(column.null_count for _, column in columns):
        # Most rows have all keys: their texts are joined at once.
        first, *more = columns
        rest = (part for key, column in more for part in ("," + key, column))
        return _joined("{" + first[0], first[1], *rest, "}")
    texts = [_joined(key, column) for key, column in columns]
    # Arrow drops rows with only nulls, so that each row begins with an empty text.
    listed = pc.utf8_ltrim(_joined("", *texts, separator=",", null_handling="skip"), ",")
    return _where(pc.not_equal(listed, _scalar("")), _joined("{", listed, "}"))


def _joined(*texts: str | pa.Array[Any], separator: str = "", **options: str) -> pa.Array[Any]:
    """Each row's texts, one after the other; a plain str is the same in all rows."""
    columns = [_scalar(text) if isinstance(text, str) else text for text in texts]
    join: Any = pc.binary_join_element_wise
    joined: pa.Array[Any] = join(*columns, _scalar(separator), **options)
    return joined


def _texts(texts: Sequence[bytes]) -> pa.Array[Any]:
    """Texts in UTF-8 as an array, made from buffers.

    `pyarrow.array` and `pyarrow.scalar` import pandas where that is installed, at the first call:
    half a second or more in the midst of a copy.
    """
    offsets = array("i", accumulate(map(len, texts), initial=0))
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(texts))]
    return pa.Array.from_buffers(pa.string(), len(texts), buffers)


def _integers(numbers: Iterable[int]) -> pa.Array[Any]:
    """The same for integers of 64 bits."""
    values = array("q", numbers)
    return pa.Array.from_buffers(pa.int64(), len(values), [None, pa.py_buffer(values)])


def _scalar(text: str) -> pa.StringScalar:
    found: pa.StringScalar = _texts([text.encode()])[0]
    return found


def _where(mask: pa.BooleanArray, texts: pa.Array[Any]) -> pa.Array[Any]:
    """The texts, null where the mask is false."""
    kept: pa.Array[Any] = pc.if_else(mask, texts, pa.nulls(1, pa.string())[0])
    return kept


def _strings(column: pa.Array[Any]) -> pa.Array[Any]:
    if pc.any(pc.match_substring_regex(column, _TO_ESCAPE)).as_py():
        encode = msgspec.json.Encoder().encode
        return pa.array(
            [None if text is None else encode(text).decode() for text in column.to_pylist()],
            pa.string(),
        )
    return _joined('"', pc.cast(column, pa.string()), '"')


def _ints(column: pa.Array[Any]) -> pa.Array[Any]:
    return pc.cast(column, pa.string())


def _lists(column: Any, texts_of: Callable[[pa.Array[Any]], pa.Array[Any]]) -> pa.Array[Any]:
    items = column.flatten()
    lengths = pc.list_value_length(column).fill_null(0)
    offsets: Any = pa.concat_arrays(
        [_integers([0]), pc.cast(pc.cumulative_sum(lengths), pa.int64())]
    )
    filled: Any = pc.fill_null(texts_of(items), _scalar("null"))
    joined: Any = pc.binary_join(pa.LargeListArray.from_arrays(offsets, filled), ",")
    return _where(column.is_valid(), _joined("[", joined, "]"))


def _of_any(value: Any) -> str:
    try:
        return lenient.dumps(value)
    except Exception:
        return lenient.dumps(str(value))
