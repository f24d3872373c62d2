"""Rows are decoded together and converted in pieces, with the result of doing it one by one."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from aiowandb_server.store.columns import ColumnBuilder, ColumnChunk
from aiowandb_server.store.decoding import decoded
from aiowandb_server.store.history_keys import KeyCounter
from aiowandb_server.store.rows import columns_of, decode_row, step_of, steps_of, types_of

NUMBERS = st.integers(-(2**65), 2**65) | st.floats(allow_subnormal=False) | st.integers(0, 9)
LEAVES = NUMBERS | st.booleans() | st.none() | st.sampled_from(["NaN", "x", "é{", 'a"b\\', "[1]"])
VALUES = LEAVES | st.lists(NUMBERS, max_size=2) | st.dictionaries(st.sampled_from("de"), LEAVES)
KEYS = st.sampled_from(["_step", "a", "b", "b.d", 'c"\\', "_type", ""])
# Many have the same keys, as the rows of most runs do.
ROWS = st.lists(st.dictionaries(KEYS, VALUES), min_size=1, max_size=6) | st.lists(
    st.fixed_dictionaries({"_step": st.integers(0, 9), "a": NUMBERS, "b": LEAVES}),
    min_size=1,
    max_size=12,
)


def words(value: Any) -> str:
    """Equal only for the same values of the same types."""
    return repr(value)


@given(ROWS)
def test_rows_decoded_together_are_those_decoded_one_by_one(rows: list[dict[str, Any]]) -> None:
    texts = [json.dumps(row) for row in rows]
    expected = columns_of([decode_row(text) for text in texts])
    ((columns, types, count),) = decoded(texts)
    assert count == len(rows)
    assert list(columns) == list(expected)
    for key, values in expected.items():
        assert words(list(columns[key])) == words(list(values))
    assert types == types_of(expected)


def test_what_is_odd_in_a_row_is_decoded_as_alone() -> None:
    odd = ['{"a":1,"a":2}', '{"a":NaN}', '{"a":1e999}', '{ "a" : 1 }\n', '{"a":"\\ud83d"}']
    odd += ['{"a":{"_type":"image"}}', '{"a":{}}', '{"b":1,"a":2}', "{}", '{"a":-0,"b":-0.0}']
    for text in odd:
        for texts in ([text, '{"a":0.5}'], ['{"a":0.5}', text], ['{"a":1,"b":2}', text]):
            ((columns, _, _),) = decoded(texts)
            expected = columns_of([decode_row(each) for each in texts])
            assert words({k: [*v] for k, v in columns.items()}) == words(
                {k: [*v] for k, v in expected.items()}
            )


@settings(max_examples=30)
@given(ROWS)
def test_steps_of_many_lines_are_those_of_each(rows: list[dict[str, Any]]) -> None:
    texts = [json.dumps(row) for row in rows] + ["no row", "[]"][: len(rows) % 3]
    kept, steps = steps_of(texts, 7)
    assert list(kept) == texts
    assert steps == [step_of(text, number) for number, text in enumerate(texts, 7)]


@settings(max_examples=30)
@given(st.lists(ROWS, min_size=1, max_size=3))
def test_rows_converted_in_pieces_are_those_converted_at_once(
    parts: list[list[dict[str, Any]]],
) -> None:
    flat = [[decode_row(json.dumps(row)) for row in part] for part in parts]
    at_once, in_pieces = ColumnBuilder(), ColumnBuilder()
    at_once.add(range(sum(map(len, flat))), columns_of([row for part in flat for row in part]))
    pieces, first = [], 0
    for part in flat:
        columns = columns_of(part)
        steps = range(first, first + len(part))
        pieces.append(ColumnChunk.of(steps, columns, types_of(columns)))
        first += len(part)
    known = [piece for piece in pieces if piece is not None]
    if len(known) < len(pieces) or not in_pieces.add_pieces(known):
        return  # these are converted at once
    (expected,), (found,) = at_once.tables(), in_pieces.tables()
    assert found.schema.equals(expected.schema, check_metadata=True)
    assert words(found.to_pydict()) == words(expected.to_pydict())


def test_numbers_are_converted_in_pieces_and_what_depends_on_other_rows_is_not() -> None:
    def added(*parts: list[Any]) -> bool:
        pieces = [ColumnChunk.of(range(len(a)), {"a": a}, types_of({"a": a})) for a in parts]
        builder = ColumnBuilder()
        return None not in pieces and builder.add_pieces([p for p in pieces if p is not None])

    assert added([1, 2], [0.5, None], ["NaN"])
    assert added([True], [None])
    assert added(["x"], ["NaN"], [None])
    assert not added([1], ["x"])
    assert not added([True], [1])
    assert not added([[1]])
    assert not added([{"_type": "image"}])


def test_a_key_that_falls_has_its_last_number_as_the_previous_one() -> None:
    counter = KeyCounter()
    counter.add([0, 1], {"a": [2.0, 1.0]})
    counter.add([2, 3, 4, 5], {"a": [5, 7.5, math.nan, "x"]})
    counter.add([6], {"a": [math.inf]})
    assert counter.snapshot()["keys"]["a"] == {
        "typeCounts": [{"type": "number", "count": 6}, {"type": "string", "count": 1}],
        "monotonic": False,
        "previousValue": 7.5,
    }


def test_receiving_and_compacting_rows_does_not_import_pandas(tmp_path: Path) -> None:
    program = """
import json, sys
from aiowandb_server import RunChanges, Store
with Store.open(sys.argv[1]) as store:
    project, _ = store.projects.ensure("local", "p")
    run, _ = store.runs.upsert(project, "r", RunChanges(config="{}"))
    rows = [{"_step": i, "x": i / 7, "n": i, "s": "é", "b": True, "o": None} for i in range(300)]
    store.history.append(run, [json.dumps(row) for row in rows])
    store.finish(run)
    assert len(store.history.exported(store.runs.by_id(run.id), "parquet").tokens) == 1
print("pandas" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "data")], capture_output=True, text=True
    )
    assert done.stdout.strip() == "False", done.stderr


def test_arrays_are_those_of_arrow() -> None:
    columns: list[tuple[list[Any], pa.DataType]] = [
        ([1, None, -(2**63)], pa.int64()),
        ([0.5, 2, None, math.inf], pa.float64()),
        ([True, None, False], pa.bool_()),
        (["é", None, "", "x" * 99, "\U0001f600"], pa.string()),
    ]
    for values, kind in columns:
        for part in (values, [value for value in values if value is not None], []):
            builder = ColumnBuilder()
            builder.add(range(len(part)), {"a": part})
            (table,) = builder.tables()
            if part:
                assert table.column("a").combine_chunks().equals(pa.array(part, kind))
                table.validate(full=True)
