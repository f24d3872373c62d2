"""Typed decoding of rows has the same result as the general one, whatever the rows are."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiowandb.errors import ServerError
from aiowandb.history import decode
from aiowandb.history.columns import rows_to_batch
from aiowandb.history.decode import RowDecoder, decode_rows
from aiowandb.wire import lenient
from tests.conftest import examples

keys = st.sampled_from(["loss", "acc", "a.b", "a", "c/d", "_type", "ü"])
leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=3)
    | st.sampled_from(["NaN", "Infinity"])
    | st.lists(st.integers(0, 9) | st.floats(0, 1), max_size=3)
)
values = st.recursive(leaves, lambda inner: st.dictionaries(keys, inner, max_size=3), max_leaves=4)
rows = st.lists(st.dictionaries(keys, values, max_size=4), min_size=1, max_size=6)


def values_of(batch: pa.RecordBatch) -> dict[str, tuple[Any, ...]]:
    """The batch as something that compares, NaN included."""
    return {
        field.name: (str(field.type), repr(batch.column(field.name).to_pylist()), field.metadata)
        for field in batch.schema
    }


def texts(rows: list[dict[str, Any]]) -> list[str]:
    return [lenient.dumps({"_step": step} | row) for step, row in enumerate(rows)]


@examples(20)
@given(st.lists(rows, min_size=1, max_size=4), st.sets(keys))
def test_a_type_learnt_from_other_pages_changes_nothing(
    pages: list[Any], text_keys: set[str]
) -> None:
    decoder = RowDecoder()
    for page in map(texts, pages):
        expected = rows_to_batch(decode_rows(page), text_keys=text_keys)
        assert values_of(decoder.batch(page, text_keys)) == values_of(expected)


metrics = st.fixed_dictionaries(
    {}, optional={"loss": st.floats(), "n": st.integers(0, 9), "ok": st.booleans()}
)

steady = st.lists(st.builds(lambda a, b: a | {"val": b}, metrics, metrics), min_size=1, max_size=9)


@examples(35)
@given(st.lists(steady, min_size=2, max_size=4))
def test_rows_that_look_alike_come_out_alike(pages: list[Any]) -> None:
    decoder = RowDecoder()
    for page in map(texts, pages):
        assert values_of(decoder.batch(page)) == values_of(rows_to_batch(decode_rows(page)))


def test_pages_that_look_alike_are_decoded_through_a_type(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = RowDecoder()
    first = decoder.batch(['{"_step":0,"loss":1,"val":{"acc":0.5},"name":"a"}'])
    monkeypatch.setattr(decode, "decode_rows", None)
    second = decoder.batch(['{"_step":1,"loss":NaN}', '{"_step":2,"val":{"acc":1},"name":null}'])
    assert first.schema.names == ["_step", "loss", "val.acc", "name"]
    (loss, _), acc = second.column("loss").to_pylist(), second.column("val.acc").to_pylist()
    assert loss is not None
    assert math.isnan(loss)
    assert acc == [None, 1]


def test_rows_come_in_step_order() -> None:
    decoder = RowDecoder()
    decoder.batch(['{"_step":0,"x":0}'])
    assert decoder.batch(['{"_step":2,"x":2}', '{"_step":1,"x":1}']).to_pylist() == [
        {"_step": 1, "x": 1},
        {"_step": 2, "x": 2},
    ]


def test_a_decoded_type_is_dropped_if_runs_have_little_in_common() -> None:
    decoder = RowDecoder()
    for run in range(60):
        page = [lenient.dumps({"_step": 0, **{f"layer{run}.{i}": i for i in range(40)}})]
        assert decoder.batch(page).num_columns == 41
    assert decoder._shape is None or len(decoder._shape) <= 2_000


def test_a_key_with_a_dot_and_a_nested_one_of_that_name_are_both_there() -> None:
    decoder = RowDecoder()
    page = ['{"_step":0,"val.acc":1,"val":{"acc":2}}', '{"_step":1,"val.acc":3,"val":{"acc":4}}']
    for _ in range(2):
        assert decoder.batch(page).to_pydict() == {
            "_step": [0, 1],
            r"val\.acc": [1, 3],
            "val.acc": [2, 4],
        }


@pytest.mark.parametrize("text", ["[1]", "3", '"x"', '{"_step": "a"}'])
def test_rows_that_are_not_objects_are_a_server_error(text: str) -> None:
    with pytest.raises(ServerError):
        RowDecoder().batch(['{"_step": 1}', text])


def test_a_type_refuses_what_it_was_not_made_for() -> None:
    decoder = RowDecoder()
    decoder.batch(['{"_step":0,"x":0}'])
    assert decoder._shape is not None
    with pytest.raises(msgspec.ValidationError):
        decoder._shape.batch(['{"_step":0,"x":"a"}'])


@pytest.mark.parametrize("step", ["9" * 30, "1.5", '"ten"', "[1]"])
def test_a_step_that_is_not_an_integer_is_an_error(step: str) -> None:
    with pytest.raises(ServerError, match="invalid _step"):
        RowDecoder().batch([f'{{"_step": {step}, "loss": 1}}'])


@pytest.mark.parametrize("beside", ["", ', "nan": NaN', ', "far": 1e400'])
def test_integers_are_exact_whatever_other_values_there_are(beside: str) -> None:
    page = [f'{{"_step": {i}, "big": {2**70}, "low": {-(2**62) - 1}{beside}}}' for i in range(2)]
    assert [(row["big"], row["low"]) for row in decode_rows(page)] == [(2**70, -(2**62) - 1)] * 2
    decoder = RowDecoder()
    for _ in range(2):
        assert decoder.batch(page).column("low").to_pylist() == [-(2**62) - 1] * 2


def test_one_row_that_is_nested_deeply_does_not_slow_the_pages_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deep: Any = 1
    for _ in range(200):
        deep = {"a": deep}
    decoder = RowDecoder()
    decoder.batch(texts([{"_step": 0, "x": 0.5, "deep": deep}]))
    batch = decoder.batch(texts([{"_step": 1, "x": 1.5}]))
    assert batch.to_pydict() == {"_step": [1], "x": [1.5]}
    # The general way is closed: the next page is decoded through a type of its two keys alone.
    monkeypatch.setattr(decode, "decode_rows", None)
    assert decoder.batch(texts([{"_step": 2, "x": 2.5}])).num_columns == 2
    assert decoder._shape is not None
    assert len(decoder._shape) == 2


def test_no_type_is_made_of_very_many_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "Shape", None)
    row = {"_step": 0, **{f"k{i}": i / 7 for i in range(2_500)}}
    assert RowDecoder().batch(texts([row])).num_columns == 2_501
