"""The selected rows and columns are the same for batches and for rows."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiowandb.history.columns import rows_to_batch
from aiowandb.history.pages import ParquetPage, nested_as_json
from aiowandb.history.selection import Selection
from aiowandb.wire.dotted import flattened
from aiowandb.wire.rows import flat_row
from tests.conftest import examples

names = st.sampled_from(["loss", "val", "val.acc", "val.top.1", "x[1]", "train/loss", r"val\.acc"])
patterns = names | st.sampled_from(["val.*", "*loss", "nothing", "[lx]*", "[v]al", "val.top"])
rows = st.lists(st.dictionaries(names, st.none() | st.integers(0, 9)), min_size=1, max_size=8)
selections = st.builds(
    Selection,
    keys=st.none() | st.lists(patterns, max_size=3).map(tuple),
    any_key=st.booleans(),
    exclude=st.lists(patterns, max_size=2).map(tuple),
)


def from_batch(selection: Selection, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    batch = selection.filter_batch(rows_to_batch(rows))
    return [] if batch is None else [row for rows in ParquetPage(batch).rows() for row in rows]


@given(selections, rows)
def test_batches_and_rows_are_selected_alike(selection: Selection, rows: Any) -> None:
    rows = [{"_step": step} | row for step, row in enumerate(rows)]
    assert from_batch(selection, rows) == selection.filter_rows([flat_row(row) for row in rows])


ROWS: list[dict[str, Any]] = [
    {"_step": 0, "loss": 3},
    {"_step": 1, "loss": 2, "val.acc": 0.5},
    {"_step": 2, "val.acc": 0.6, "val.loss": 1.0},
]


@pytest.mark.parametrize(
    ("selection", "steps", "columns"),
    [
        (Selection(), [0, 1, 2], {"_step", "loss", "val.acc", "val.loss"}),
        (Selection(keys=("loss", "val.acc")), [1], {"_step", "loss", "val.acc"}),
        (
            Selection(keys=("loss", "val.loss"), any_key=True),
            [0, 1, 2],
            {"_step", "loss", "val.loss"},
        ),
        (Selection(keys=("val.*",)), [1, 2], {"_step", "val.acc", "val.loss"}),
        (Selection(exclude=("val.*",)), [0, 1, 2], {"_step", "loss"}),
        (Selection(keys=("val.*",), exclude=("val.acc",)), [2], {"_step", "val.loss"}),
        (Selection(min_step=1, max_step=2), [1], {"_step", "loss", "val.acc", "val.loss"}),
    ],
)
def test_the_requested_rows_come(selection: Selection, steps: list[int], columns: set[str]) -> None:
    batch = selection.filter_batch(rows_to_batch(ROWS))
    assert batch is not None
    assert batch.column("_step").to_pylist() == steps
    assert set(batch.schema.names) == columns


def test_a_key_that_looks_like_a_glob_means_itself_where_it_is_there() -> None:
    batch = Selection(keys=("x[1]",)).filter_batch(
        rows_to_batch([{"_step": 0, "x[1]": 1, "x1": 2}])
    )
    assert batch is not None
    assert batch.schema.names == ["_step", "x[1]"]


def test_nested_keys_can_be_one_column() -> None:
    rows: list[dict[str, Any]] = [
        {"_step": 0, "val": {"a": 1, "b": {"c": 2}}, "x": 1},
        {"_step": 1, "x": 2},
    ]
    assert nested_as_json(rows_to_batch(rows)).to_pylist() == [
        {"_step": 0, "val": '{"a":1,"b":{"c":2}}', "x": 1},
        {"_step": 1, "val": None, "x": 2},
    ]


def test_a_key_with_a_value_and_nested_keys_keeps_both() -> None:
    rows = [{"_step": 0, "val": 1, "val.a": 2, "val.a.b": 3}]
    assert nested_as_json(rows_to_batch(rows)).to_pylist() == [
        {"_step": 0, "val": '{"":1,"a":{"":2,"b":3}}'}
    ]


def test_a_literal_dot_is_not_nested() -> None:
    rows: list[dict[str, Any]] = [
        {"_step": 0, "val.acc": 1, "val": {"acc": 2, "t.1": 3, "t": {"1": 4}}, "x": 1},
        {"_step": 1, "a.b": {"c": 1.0}, "a": {"b": {"c": 0.5}}},
    ]
    batch = nested_as_json(rows_to_batch(rows))
    assert [{k: v for k, v in row.items() if v is not None} for row in batch.to_pylist()] == [
        {"_step": 0, r"val\.acc": 1, "val": '{"acc":2,"t.1":3,"t":{"1":4}}', "x": 1},
        {"_step": 1, r"a\.b": '{"c":1}', "a": '{"b":{"c":0.5}}'},
    ]


nested_names = st.sampled_from(["a", "b", "a.b", "b.a", "a.b.a"])
nests = st.recursive(
    st.integers(0, 9), lambda inner: st.dictionaries(nested_names, inner, min_size=1, max_size=3)
)


@examples(35)
@given(st.dictionaries(nested_names, nests, min_size=1, max_size=4))
def test_no_nested_value_is_lost_if_names_clash(row: dict[str, Any]) -> None:
    (found,) = nested_as_json(rows_to_batch([row], first=())).to_pylist()
    leaves = [leaf for text in found.values() for leaf in _leaves(text)]
    assert sorted(leaves) == sorted(flattened(row).values())


def _leaves(text: Any) -> list[Any]:
    if isinstance(text, str):
        text = json.loads(text)
    if isinstance(text, dict):
        return [leaf for inner in text.values() for leaf in _leaves(inner)]
    return [text]
