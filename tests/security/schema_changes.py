"""All mutations of the schema, with what belongs to whom in their arguments."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from graphql import (
    GraphQLInputObjectType,
    GraphQLSchema,
    get_named_type,
    is_required_input_field,
)

from tests.security.neighbourhood import Names
from tests.security.schema_values import VALUES, Slot, listed, plain_value, slot_of
from tests.security.schema_walk import document, selection_of_payload


@dataclass(frozen=True)
class Change:
    """A mutation, and what its arguments refer to.

    `place` is the owner of all that it names, and `ids` are, for each id, its owner and its kind;
    or nothing, if the id is left out.
    """

    mutation: str
    place: str
    ids: tuple[tuple[str, tuple[str, str] | None], ...]

    def owners(self) -> set[str]:
        return {self.place, *(found[0] for _, found in self.ids if found)} - {""}

    def with_nobodys(self, owner: str) -> Change:
        """The same with what does not exist in place of what belongs to this owner."""
        ids = tuple(
            (key, ("nobody", found[1]) if found and found[0] == owner else found)
            for key, found in self.ids
        )
        return Change(self.mutation, "nobody" if self.place == owner else self.place, ids)


class Changes:
    """All mutations of the schema."""

    def __init__(self, schema: GraphQLSchema, owners: dict[str, Names]) -> None:
        assert schema.mutation_type is not None
        self._schema = schema
        self._owners = owners
        self.fields = schema.mutation_type.fields

    def of(self, mutation: str, owners: tuple[str, ...]) -> Iterator[Change]:
        """The mutation with everything that it may refer to, of each of these owners."""
        by_name = False
        ids: dict[str, list[tuple[str, str] | None]] = {}
        for slot, required in self._slots(self._input(mutation)):
            if slot.by_name:
                by_name = True
            else:
                ids[slot.key] = [(owner, kind) for owner in owners for kind in slot.kinds]
                if not required:
                    ids[slot.key].append(None)
        for place in owners if by_name else ("",):
            for chosen in itertools.product(*ids.values()):
                yield Change(mutation, place, tuple(zip(ids, chosen, strict=True)))

    def query(self, mutation: str) -> str:
        kind = self._input(mutation).name
        payload = selection_of_payload(self._schema, self.fields[mutation].type)
        operation = f"mutation($input: {kind}!) {{ {mutation}(input: $input){payload} }}"
        return document(self._schema, self._owners["nobody"], operation)

    def variables(self, change: Change) -> dict[str, Any]:
        return {"input": self._value(self._input(change.mutation), change)}

    def _value(self, kind: GraphQLInputObjectType, change: Change) -> dict[str, Any]:
        value = {}
        ids = dict(change.ids)
        for key, declared in kind.fields.items():
            named = get_named_type(declared.type)
            slot = slot_of(kind.name, key, declared.type)
            if slot is not None:
                owner, what = (
                    (change.place, slot.kinds[0]) if slot.by_name else ids[key] or ("", "")
                )
                if owner:
                    value[key] = listed(slot.of(self._owners[owner], what), declared.type)
            elif isinstance(named, GraphQLInputObjectType):
                value[key] = listed(self._value(named, change), declared.type)
            elif is_required_input_field(declared) or key in VALUES:
                value[key] = plain_value(f"{kind.name}.{key}", key, declared.type)
        return value

    def _slots(self, kind: GraphQLInputObjectType) -> Iterator[tuple[Slot, bool]]:
        for key, declared in kind.fields.items():
            named = get_named_type(declared.type)
            if (slot := slot_of(kind.name, key, declared.type)) is not None:
                yield slot, is_required_input_field(declared)
            elif isinstance(named, GraphQLInputObjectType):
                yield from self._slots(named)

    def _input(self, mutation: str) -> GraphQLInputObjectType:
        named = get_named_type(self.fields[mutation].args["input"].type)
        assert isinstance(named, GraphQLInputObjectType)
        return named
