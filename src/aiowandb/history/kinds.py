"""The kinds of column that there are, and the kind in which two of them meet.

           JSON
        /   |   \\    \\
     FLOAT BOOL TEXT FLOATS
       |              |
      INT            INTS
        \\   |   /    /
           NULL

`meet` goes up this picture to the first kind that holds both without losing a
value: ints and floats are floats; what clashes is kept as JSON text.
"""

from __future__ import annotations

from enum import Enum

import pyarrow as pa

# Plain strings and JSON texts are both Arrow strings: the field says which it is.
_JSON_MARK = {b"encoding": b"json"}


class Kind(Enum):
    """What all values of a column are; nulls aside."""

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

    def field(self, name: str) -> pa.Field:
        return pa.field(name, self.arrow, metadata=_JSON_MARK if self is Kind.JSON else None)


_ARROW = {
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


def kind_of(field: pa.Field) -> Kind:
    """The kind of a column, also of one that somebody else's Parquet file has."""
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
