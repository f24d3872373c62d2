"""Values of every type that goes over the wire, made by hypothesis from the types themselves."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from hypothesis import strategies as st

import aiowandb.wire
from aiowandb.paths import ArtifactRef, RunRef
from aiowandb.wire.graphql import Operation, data_type
from aiowandb.wire.history import Window
from aiowandb.wire.runs import RunQuery

# Half surrogates are no text that JSON could carry.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


def wire_structs() -> list[type[msgspec.Struct]]:
    """Every struct of the wire layer, but generic ones, which come as members of others."""
    return [
        value
        for value in _of_the_wire_layer()
        if isinstance(value, type)
        and issubclass(value, msgspec.Struct)
        and not hasattr(value, "__parameters__")
    ]


def operations() -> list[Operation[Any]]:
    """One operation of every function that makes one; what it asks for does not matter here."""
    found = []
    for value in _of_the_wire_layer():
        if inspect.isfunction(value):
            hints = get_type_hints(value)
            if get_origin(hints.pop("return", None)) is Operation:
                found.append(value(**{name: _argument(hint) for name, hint in hints.items()}))
    return found


def data_values(operation: Operation[Any]) -> st.SearchStrategy[Any]:
    """What W&B may send as the `data` of this operation."""
    return _of(msgspec.inspect.type_info(data_type(operation.answer, operation.at)))


def _argument(hint: Any) -> Any:
    """Any value of the type of an argument."""
    some: dict[Any, Any] = {str: "1", int: 1, bool: False, RunQuery: RunQuery()}
    some[RunRef] = RunRef("entity", "project", "run")
    some[ArtifactRef] = ArtifactRef("entity", "project", "name", "v0")
    some[Window] = Window(some[RunRef], 0, 1, 1)
    if hint in some:
        return some[hint]
    if type(None) in get_args(hint):
        return None
    if get_origin(hint) is Literal:
        return get_args(hint)[0]
    origin = get_origin(hint)
    if origin is None and issubclass(hint, msgspec.Struct):
        needed = {field.name for field in msgspec.structs.fields(hint) if field.required}
        return hint(**{n: _argument(h) for n, h in get_type_hints(hint).items() if n in needed})
    if origin is tuple:
        return tuple(_argument(each) for each in get_args(hint) if each is not ...)
    return {} if issubclass(origin, Mapping) else [_argument(get_args(hint)[0])]


def _of_the_wire_layer() -> Iterator[Any]:
    for info in pkgutil.walk_packages(aiowandb.wire.__path__, "aiowandb.wire."):
        for value in vars(importlib.import_module(info.name)).values():
            if getattr(value, "__module__", None) == info.name:
                yield value


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
        case msgspec.inspect.BytesType():
            return st.binary(max_size=20)
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
