"""Arrow arrays from Python's values, made from buffers.

`pyarrow.array` imports pandas where that is installed, at its first call, to recognize what pandas
may have made: half a second or more, and 50 MB, in the midst of a client's first rows.
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_left
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Sequence


# What `values` are known to be saves looking at each: `has_none` is whether there is a None.


def floats(values: Sequence[float | None], *, has_none: bool = True) -> pa.Array[Any]:
    """Numbers as float64. Raises OverflowError for integers that are larger."""
    return _numbers(pa.float64(), "d", values, has_none=has_none)


def ints(values: Sequence[int | None], *, has_none: bool = True) -> pa.Array[Any]:
    """Integers as int64. Raises OverflowError for larger ones."""
    return _numbers(pa.int64(), "q", values, has_none=has_none)


def booleans(values: Sequence[bool | None], *, has_none: bool = True) -> pa.Array[Any]:
    mask = _mask(values) if has_none else None
    truth = _bits([bool(value) for value in values])
    return pa.Array.from_buffers(pa.bool_(), len(values), [mask, truth])


def strings(values: Sequence[str | None], *, has_none: bool = True) -> pa.Array[Any]:
    """Texts of 2 GB together at most. Raises UnicodeEncodeError for half a surrogate pair."""
    mask = _mask(values) if has_none else None
    texts: Any = [text or "" for text in values] if has_none else values
    data = "".join(texts).encode()
    lengths = list(map(len, texts))
    if sum(lengths) != len(data):
        lengths = [len(text.encode()) for text in texts]
    offsets = array("i", accumulate(lengths, initial=0))
    buffers = [mask, pa.py_buffer(offsets), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.string(), len(texts), buffers)


def rows_at(tables: Sequence[pa.Table], positions: Sequence[int]) -> pa.Table:
    """The rows at these positions, ascending, of all tables together."""
    taken: list[pa.Table] = []
    first = begin = 0
    for table in tables:
        end = bisect_left(positions, first + table.num_rows)
        # From each table alone: Arrow joins the texts of all of them before it takes any.
        taken.append(table.take(ints([place - first for place in positions[begin:end]])))
        first, begin = first + table.num_rows, end
    return pa.concat_tables(taken)


def _numbers(
    kind: pa.DataType, code: Any, values: Sequence[Any], *, has_none: bool
) -> pa.Array[Any]:
    mask = _mask(values) if has_none else None
    filled = values if mask is None else [0 if value is None else value for value in values]
    try:
        data = struct.pack(f"{len(filled)}{code}", *filled)  # twice as fast as an array
    except struct.error as error:
        raise OverflowError(str(error)) from error
    return pa.Array.from_buffers(kind, len(values), [mask, pa.py_buffer(data)])


def _mask(values: Sequence[Any]) -> pa.Buffer | None:
    """Which values are not None; None if all of them are."""
    flags = [value is not None for value in values]
    return None if all(flags) else _bits(flags)


def _bits(flags: Sequence[bool]) -> pa.Buffer | None:
    number = pa.Array.from_buffers(pa.uint8(), len(flags), [None, pa.py_buffer(bytes(flags))])
    return number.cast(pa.bool_()).buffers()[1]
