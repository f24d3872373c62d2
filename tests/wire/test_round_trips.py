"""Every type that is sent over the wire is decoded to what was encoded."""

from __future__ import annotations

from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiowandb.wire import lenient
from aiowandb.wire.dotted import flattened
from tests.conftest import examples
from tests.support.wire_types import JSON, TEXT, values, wire_structs

# Names that meet each other in every way that dots allow.
NAMES = st.text("ab.", min_size=1, max_size=3)
NESTED = st.recursive(
    st.integers(), lambda inner: st.dictionaries(NAMES, inner, max_size=3), max_leaves=6
)


@pytest.mark.parametrize("struct", wire_structs(), ids=lambda struct: struct.__name__)
@examples(5)
@given(data=st.data())
def test_every_wire_type_comes_back_as_it_went(
    struct: type[msgspec.Struct], data: st.DataObject
) -> None:
    value = data.draw(values(struct))
    sent = msgspec.json.encode(value)
    # Not all of them are equal by value, but what they say must be.
    assert msgspec.json.encode(msgspec.json.decode(sent, type=struct)) == sent


@given(st.dictionaries(TEXT, JSON | st.floats()))
def test_json_within_json_comes_back_as_it_went(value: dict[str, Any]) -> None:
    assert repr(lenient.loads(lenient.dumps(value))) == repr(value)


@given(st.dictionaries(TEXT, JSON))
def test_strict_json_is_read_by_the_strict_parser(value: dict[str, Any]) -> None:
    assert lenient.loads(orjson.dumps(value)) == value


@given(st.dictionaries(NAMES, NESTED, max_size=4))
def test_no_value_is_lost_when_rows_are_flattened(row: dict[str, Any]) -> None:
    found = flattened(row).values()
    assert sorted(map(repr, found)) == sorted(
        repr(leaf) for v in row.values() for leaf in _leaves(v)
    )


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict) and value and "_type" not in value:
        return [leaf for inner in value.values() for leaf in _leaves(inner)]
    return [value]
