"""Reads everything that can be reached by queries that are made from the schema.

Each object that an answer holds is asked for all its fields in turn, so that a new field is read as
soon as it is there.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from graphql import (
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLUnionType,
    get_named_type,
    is_leaf_type,
    is_required_argument,
)

from tests.security.neighbourhood import Names
from tests.security.schema_values import listed, plain_value, slot_of

Send = Callable[[str, dict[str, Any]], Any]
Fields = dict[str, tuple[str, Any]]


@dataclass(frozen=True)
class _Place:
    """Where objects of a type are in the answers: what to select, and under which keys."""

    type: GraphQLObjectType
    selected: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()

    def query(self, fields: str) -> str:
        within = "".join(f"{part} {{ " for part in self.selected)
        return f"{{ {within}{fields}{' }' * len(self.selected)} }}"


@dataclass
class Reader:
    """Reads all that can be reached with the names of one owner, by queries that `send` sends."""

    schema: GraphQLSchema
    names: Names
    send: Send
    # The types of the objects that were read.
    types: set[str] = field(default_factory=set)
    _known: set[str] = field(default_factory=set)

    def read(self) -> None:
        """Ask every object for everything in it, until nothing new is found."""
        assert self.schema.query_type is not None
        places = [_Place(self.schema.query_type)]
        while places:
            place = places.pop()
            fields = self._fields(place.type)
            asked = " ".join(f"{key}: {call}" for key, (call, _) in fields.items())
            answer = self.send(document(self.schema, self.names, place.query(asked)), {})
            for owner in _at(answer.get("data"), place.keys):
                for key, (call, declared) in fields.items():
                    places.extend(self._new(place, key, call, declared, owner.get(key)))

    def _new(
        self, place: _Place, key: str, call: str, declared: Any, value: Any
    ) -> Iterator[_Place]:
        """Places of the objects in a value that are not known yet."""
        if is_leaf_type(get_named_type(declared.type)):
            return
        wrappers: tuple[str, ...] = ()
        if get_named_type(declared.type).name.endswith("Connection"):
            wrappers = ("edges", "node")
        for found in _at(value, wrappers):
            kind = found["__typename"]
            self.types.add(kind)
            if (text := json.dumps(found, sort_keys=True)) not in self._known:
                self._known.add(text)
                named = self.schema.type_map[kind]
                assert isinstance(named, GraphQLObjectType)
                bare = f"{key}: {call.partition(' {')[0]}"
                selected = (*place.selected, bare, *wrappers, f"... on {kind}")
                yield _Place(named, selected, (*place.keys, key, *wrappers))

    def _fields(self, owner: GraphQLObjectType) -> Fields:
        """All fields, once for each way to fill their arguments, under keys of their own."""
        fields: Fields = {}
        for name, declared in owner.fields.items():
            for call in _calls(self.names, owner.name, name, declared):
                selection = _selection(self.schema, declared.type)
                fields[f"f{len(fields)}"] = (f"{call}{selection}", declared)
        return fields


def _at(value: Any, keys: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """All objects under these keys, also those in lists."""
    if isinstance(value, list):
        for item in value:
            yield from _at(item, keys)
    elif isinstance(value, dict):
        if keys:
            yield from _at(value.get(keys[0]), keys[1:])
        else:
            yield value


def document(schema: GraphQLSchema, names: Names, operation: str) -> str:
    """The operation with the fragments that it spreads."""
    kinds = sorted(set(re.findall(r"\.\.\.Leaves_(\w+)", operation)))
    return " ".join([operation, *(_fragment(schema, names, kind) for kind in kinds)])


def selection_of_payload(schema: GraphQLSchema, declared: Any) -> str:
    """All leaves of what a mutation answers with, and of the objects in it."""
    fields = get_named_type(declared).fields
    parts = " ".join(f"{name}{_selection(schema, inner.type)}" for name, inner in fields.items())
    return f" {{ {parts} }}"


def _selection(schema: GraphQLSchema, declared: Any) -> str:
    """All leaves of an object, or of those in a connection."""
    named = get_named_type(declared)
    if is_leaf_type(named):
        return ""
    if isinstance(named, (GraphQLUnionType, GraphQLInterfaceType)):
        kinds = schema.get_possible_types(named)
        return " { " + " ".join(f"...Leaves_{kind.name}" for kind in kinds) + " }"
    if not named.name.endswith(("Connection", "Edge")):
        return f" {{ ...Leaves_{named.name} }}"
    fields = named.fields.items()
    parts = " ".join(f"{name}{_selection(schema, inner.type)}" for name, inner in fields)
    return f" {{ {parts} }}"


def _fragment(schema: GraphQLSchema, names: Names, kind: str) -> str:
    """All leaves, under keys of their own: the types in a union have fields of the same names."""
    named = schema.type_map[kind]
    assert isinstance(named, GraphQLObjectType)
    leaves = " ".join(
        f"{kind}{number}: {next(iter(_calls(names, kind, name, inner)))}"
        for number, (name, inner) in enumerate(named.fields.items())
        if is_leaf_type(get_named_type(inner.type))
    )
    return f"fragment Leaves_{kind} on {kind} {{ __typename {leaves} }}"


def _calls(names: Names, owner: str, name: str, declared: Any) -> Iterator[str]:
    """The field with its arguments, once for each way to fill them."""
    chosen = {}
    for key, argument in declared.args.items():
        slot = slot_of(f"{owner}.{name}", key, argument.type)
        if slot is not None:
            chosen[key] = [listed(slot.of(names, kind), argument.type) for kind in slot.kinds]
        elif is_required_argument(argument):
            chosen[key] = [plain_value(f"{name}.{key}", key, argument.type)]
    for values in itertools.product(*chosen.values()):
        filled = ", ".join(
            f"{key}: {json.dumps(value)}" for key, value in zip(chosen, values, strict=True)
        )
        yield f"{name}({filled})" if filled else name
