"""The kinds of columns: which kind a column gets, and how kinds are combined."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiowandb.history.columns import Kind, kind_of, meet, rows_to_batch, to_column
from tests.conftest import examples

kinds = st.sampled_from(Kind)


@pytest.mark.parametrize(
    ("values", "kind", "stored"),
    [
        ([1, None, 3], Kind.INT, [1, None, 3]),
        ([1, 2.5], Kind.FLOAT, [1.0, 2.5]),
        ([1, 2**70], Kind.FLOAT, [1.0, float(2**70)]),
        ([1, 10**400], Kind.JSON, ["1", str(10**400)]),
        ([[1, 10**400]], Kind.JSON, [f"[1,{10**400}]"]),
        ([2**70, "a"], Kind.JSON, [str(2**70), '"a"']),
        ([True, None], Kind.BOOL, [True, None]),
        (["a", "NaN"], Kind.TEXT, ["a", "NaN"]),
        ([1, "Infinity"], Kind.FLOAT, [1.0, math.inf]),
        ([[1, 2], None, []], Kind.INTS, [[1, 2], None, []]),
        ([[1, 2.5]], Kind.FLOATS, [[1.0, 2.5]]),
        ([None, None], Kind.NULL, [None, None]),
        ([1, "a"], Kind.JSON, ["1", '"a"']),
        ([True, 1], Kind.JSON, ["true", "1"]),
        ([{"_type": "image-file"}], Kind.JSON, ['{"_type":"image-file"}']),
        ([["a"], [1]], Kind.JSON, ['["a"]', "[1]"]),
    ],
)
def test_values_decide_the_kind(values: list[Any], kind: Kind, stored: list[Any]) -> None:
    found, array = to_column(values)
    assert found is kind
    assert array.to_pylist() == stored


def test_strings_among_numbers_are_text_if_text_was_logged() -> None:
    kind, array = to_column([1, "Infinity"], has_text=True)
    assert (kind, array.to_pylist()) == (Kind.JSON, ["1", '"Infinity"'])


def test_nan_and_null_are_distinguished() -> None:
    _, array = to_column([math.nan, None])
    assert array.null_count == 1
    assert math.isnan(array[0].as_py())


def test_json_text_speaks_of_nan_as_wandb_does() -> None:
    _, array = to_column([{"_type": "histogram", "values": [math.nan, -math.inf]}])
    assert array.to_pylist() == ['{"_type":"histogram","values":["NaN","-Infinity"]}']


def test_nested_keys_become_dotted_columns_and_missing_ones_null() -> None:
    batch = rows_to_batch([{"a": {"b": {"c": 1}}, "_step": 0}, {"_step": 1, "x": "y"}])
    assert batch.schema.names == ["_step", "a.b.c", "x"]
    assert batch.to_pylist() == [
        {"_step": 0, "a.b.c": 1, "x": None},
        {"_step": 1, "a.b.c": None, "x": "y"},
    ]


def test_rows_without_any_key_are_still_rows() -> None:
    batch = rows_to_batch([{}, {}])
    assert batch.schema.names == ["_step"]
    assert batch.num_rows == 2


def test_a_json_column_is_distinguished_from_a_text_column_by_its_field() -> None:
    batch = rows_to_batch([{"text": "a", "mixed": 1}, {"text": "b", "mixed": "c"}])
    assert [kind_of(field) for field in batch.schema][1:] == [Kind.TEXT, Kind.JSON]


@given(kinds, kinds)
def test_it_does_not_matter_who_meets_whom(one: Kind, other: Kind) -> None:
    assert meet(one, other) is meet(other, one)


@given(kinds, kinds, kinds)
def test_it_does_not_matter_who_meets_first(one: Kind, other: Kind, third: Kind) -> None:
    assert meet(meet(one, other), third) is meet(one, meet(other, third))


@given(kinds)
def test_a_kind_meets_itself_and_nothing_in_itself(kind: Kind) -> None:
    assert meet(kind, kind) is meet(kind, Kind.NULL) is kind


@given(kinds)
def test_a_field_remembers_its_kind(kind: Kind) -> None:
    assert kind_of(kind.field("x")) is kind


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
values = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5
)


@examples(15)
@given(st.lists(st.dictionaries(st.text(max_size=5), values, max_size=5), max_size=5))
def test_any_rows_become_a_batch_of_as_many_rows(rows: list[dict[str, Any]]) -> None:
    assert rows_to_batch(rows).num_rows == len(rows)


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        (Kind.INT, Kind.FLOAT, Kind.FLOAT),
        (Kind.INTS, Kind.FLOATS, Kind.FLOATS),
        (Kind.INT, Kind.INTS, Kind.JSON),
        (Kind.BOOL, Kind.INT, Kind.JSON),
        (Kind.NULL, Kind.TEXT, Kind.TEXT),
    ],
)
def test_two_kinds_meet_in_the_narrowest_kind_for_both(one: Kind, other: Kind, both: Kind) -> None:
    assert meet(one, other) is both
