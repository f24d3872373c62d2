"""Values of every type that goes over the wire, made by hypothesis from the types themselves."""

from __future__ import annotations

import importlib
import pkgutil
from datetime import UTC, datetime
from typing import Any

import msgspec
from hypothesis import strategies as st

import aiowandb.wire

# Half surrogates are no text that JSON could carry.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


def wire_structs() -> list[type[msgspec.Struct]]:
    """Every struct of the wire layer that can be decoded."""
    found: set[type[msgspec.Struct]] = set()
    for module in pkgutil.walk_packages(aiowandb.wire.__path__, "aiowandb.wire."):
        for value in vars(importlib.import_module(module.name)).values():
            if isinstance(value, type) and issubclass(value, msgspec.Struct) and _is_data(value):
                found.add(value)
    return sorted(found, key=lambda struct: f"{struct.__module__}.{struct.__name__}")


def _is_data(struct: type[msgspec.Struct]) -> bool:
    if not struct.__module__.startswith("aiowandb.wire") or hasattr(struct, "__parameters__"):
        return False
    try:
        msgspec.json.Decoder(struct)
    except (TypeError, NameError):
        return False  # it is never decoded: it holds what JSON has no word for
    return True


def values(struct: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    """Instances of the struct."""
    return _of(msgspec.inspect.type_info(struct))


def _of(kind: msgspec.inspect.Type) -> st.SearchStrategy[Any]:
    match kind:
        case msgspec.inspect.AnyType():
            return JSON
        case msgspec.inspect.NoneType():
            return st.none()
        case msgspec.inspect.BoolType():
            return st.booleans()
        case msgspec.inspect.IntType():
            return st.integers(-(2**63), 2**63 - 1)
        case msgspec.inspect.FloatType():
            return st.floats(allow_nan=False, allow_infinity=False)
        case msgspec.inspect.StrType():
            return TEXT
        case msgspec.inspect.DateTimeType():
            first, last = datetime(1970, 1, 1), datetime(2100, 1, 1)
            return st.datetimes(first, last, timezones=st.just(UTC))
        case msgspec.inspect.LiteralType(values=choices):
            return st.sampled_from(choices)
        case msgspec.inspect.UnionType(types=types):
            return st.one_of([_of(one) for one in types])
        case msgspec.inspect.ListType(item_type=item):
            return st.lists(_of(item), max_size=3)
        case msgspec.inspect.VarTupleType(item_type=item):
            return st.lists(_of(item), max_size=3).map(tuple)
        case msgspec.inspect.FrozenSetType(item_type=item):
            return st.frozensets(_of(item), max_size=1)  # of more, the order would be chance
        case msgspec.inspect.DictType(key_type=key, value_type=value):
            return st.dictionaries(_of(key), _of(value), max_size=3)
        case msgspec.inspect.StructType(cls=struct, fields=fields):
            members = {field.name: _of(field.type) for field in fields}
            return st.builds(struct, **members)
        case _:
            raise NotImplementedError(kind)
