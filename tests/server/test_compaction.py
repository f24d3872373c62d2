"""Finished histories become Parquet: what is exported, and when."""

from __future__ import annotations

import json
import math
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiowandb_server import RunChanges, Store
from aiowandb_server.store import line_tables, spool
from aiowandb_server.store.columns import ColumnBuilder, is_json
from aiowandb_server.store.history_keys import KeyCounter
from aiowandb_server.store.records import RunRow
from aiowandb_server.store.rows import columns_of, flatten


def step_lines(*steps: int, **values: Any) -> list[str]:
    return [json.dumps({"_step": step, **values}) for step in steps]


def exported(store: Store, run: RunRow) -> pa.Table:
    fresh = store.runs.by_id(run.id)
    assert fresh is not None
    (token,) = store.history.exported(fresh, "parquet").tokens
    return pq.read_table(store.history.columns_path(token))


def live_rows(store: Store) -> int:
    with store._database.read() as connection:
        (count,) = connection.execute(
            "SELECT count(*) FROM line WHERE stream = 'history'"
        ).fetchone()
    return int(count)


def test_a_finished_run_leaves_sqlite(store: Store, run: RunRow) -> None:
    store.history.append(run, step_lines(0, 1, 5))
    store.finish(run)
    assert live_rows(store) == 0
    assert exported(store, run).column("_step").to_pylist() == [0, 1, 5]


def test_columns_have_the_narrowest_type_that_fits(store: Store, run: RunRow) -> None:
    rows: list[dict[str, Any]] = [
        {"_step": 0, "i": 1, "f": 1, "t": True, "s": "a", "v": [1, 2], "w": [1], "mix": 1, "n": 1},
        {"_step": 1, "i": 2, "f": 0.5, "t": False, "s": "b", "v": [3], "w": [0.5], "mix": "x"},
        {"_step": 2, "big": 2**70, "nan": math.nan, "f": math.inf, "n": "NaN", "d": {"e": [{}]}},
        {"_step": 3, "m": {"_type": "image-file", "path": "p"}, "none": None},
    ]
    store.history.append(run, [json.dumps(row) for row in rows])
    store.finish(run)
    table = exported(store, run)
    types = {field.name: str(field.type) for field in table.schema}
    assert types == {
        "_step": "int64",
        "i": "int64",
        "f": "double",
        "t": "bool",
        "s": "string",
        "v": "list<element: int64>",
        "w": "list<element: double>",
        "mix": "string",
        "n": "double",
        "big": "double",
        "nan": "double",
        "d.e": "string",
        "m": "struct<_type: string, path: string>",
        "none": "string",
    }
    json_columns = {field.name for field in table.schema if is_json(field)}
    assert json_columns == {"mix", "d.e"}
    assert table.column("mix").to_pylist() == ["1", '"x"', None, None]
    assert table.column("f").to_pylist() == [1.0, 0.5, math.inf, None]
    assert math.isnan(table.column("n")[2].as_py())


def test_row_groups_carry_statistics_of_the_step(store: Store, run: RunRow) -> None:
    store.history.append(run, step_lines(3, 9))
    store.finish(run)
    (token,) = store.history.exported(run, "parquet").tokens
    statistics = (
        pq.read_metadata(store.history.columns_path(token)).row_group(0).column(0).statistics
    )
    assert statistics is not None
    assert (statistics.min, statistics.max) == (3, 9)


def test_a_live_run_has_the_step_where_its_live_rows_begin(store: Store, run: RunRow) -> None:
    assert store.history.exported(run, "parquet").first_live_step is None
    store.history.append(run, step_lines(4, 5))
    answer = store.history.exported(run, "parquet")
    assert (answer.tokens, answer.first_live_step) == ([], 4)


def test_a_resumed_run_is_all_live_until_it_is_done(store: Store, run: RunRow) -> None:
    store.history.append(run, step_lines(0, 1))
    store.finish(run)
    resumed = store.runs.change(run.id, RunChanges(state="running"))
    store.history.append(resumed, step_lines(2))
    answer = store.history.exported(resumed, "parquet")
    assert (answer.tokens, answer.first_live_step) == ([], 0)


def test_finishing_again_makes_one_new_segment(store: Store, run: RunRow) -> None:
    store.history.append(run, step_lines(0, 1))
    store.finish(run)
    (first,) = store.history.exported(run, "parquet").tokens
    store.history.append(run, step_lines(2))
    store.finish(run)
    (second,) = store.history.exported(run, "parquet").tokens
    assert first != second
    assert exported(store, run).num_rows == 3
    assert store.history.columns_path(first).exists(), "its links may still be in use"


def test_a_rewritten_row_is_never_handed_out_in_its_old_form(store: Store, run: RunRow) -> None:
    store.history.append(run, step_lines(0, 1, x=1))
    store.finish(run)
    store.history.append(run, step_lines(1, x=2), offset=1)
    assert exported(store, run).column("x").to_pylist() == [1, 2]


def test_a_run_without_heartbeats_is_compacted_when_it_is_read(store: Store, run: RunRow) -> None:
    store.history.append(run, step_lines(0))
    crashed = store.runs.change(run.id, RunChanges(state="crashed"))
    assert len(store.history.exported(crashed, "parquet").tokens) == 1


def test_json_mode_hands_out_no_files(store: Store, run: RunRow) -> None:
    store.history.append(run, step_lines(7, 8))
    store.finish(run)
    answer = store.history.exported(run, "json")
    assert (answer.tokens, answer.first_live_step) == ([], 7)


def test_mixed_mode_hands_out_a_finished_run_once(store: Store, run: RunRow) -> None:
    store.history.append(run, step_lines(*range(10)))
    store.finish(run)
    done = store.runs.by_id(run.id)
    assert done is not None
    answer = store.history.exported(done, "mixed")
    assert answer.first_live_step is None
    assert answer == store.history.exported(done, "parquet")


def test_mixed_mode_hands_out_the_first_half_of_a_live_run(store: Store, run: RunRow) -> None:
    store.history.append(run, step_lines(*range(10)))
    answer = store.history.exported(run, "mixed")
    (token,) = answer.tokens
    table = pq.read_table(store.history.columns_path(token))
    assert table.column("_step").to_pylist() == [0, 1, 2, 3, 4]
    assert answer.first_live_step == 5


def test_a_rewrite_during_compaction_is_not_lost(
    store: Store, run: RunRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.history.append(run, step_lines(0, 1, x=1))
    write = store._segments.write

    def write_and_be_overtaken(*arguments: Any) -> None:
        write(*arguments)
        monkeypatch.undo()
        store.history.append(run, step_lines(1, x=2), offset=1)

    monkeypatch.setattr(store._segments, "write", write_and_be_overtaken)
    store.finish(run)
    assert exported(store, run).column("x").to_pylist() == [1, 2]
    assert live_rows(store) == 0


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**80), 2**80),
    st.floats(),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.sampled_from(["NaN", "Infinity"]),
    st.lists(st.integers(0, 3) | st.floats(allow_nan=False) | st.text(max_size=2), max_size=3),
    st.dictionaries(st.sampled_from(["_type", "p"]), st.text(max_size=2), max_size=2),
)


@given(
    st.lists(
        st.lists(st.dictionaries(st.sampled_from("abc"), VALUES), min_size=1, max_size=4),
        min_size=1,
        max_size=3,
    )
)
def test_any_rows_in_any_chunks_become_one_schema(chunks: list[list[dict[str, Any]]]) -> None:
    builder = ColumnBuilder()
    for chunk in chunks:
        builder.add(range(len(chunk)), columns_of([flatten(row) for row in chunk]))
    table = pa.concat_tables(builder.tables())
    for field in table.schema:
        if field.name != "_step":
            sent = [flatten(row).get(field.name) for chunk in chunks for row in chunk]
            read = table[field.name].to_pylist()
            if is_json(field):
                read = [None if text is None else json.loads(text) for text in read]
            assert all(map(same_value, sent, read)), (sent, read)


@given(st.lists(st.dictionaries(st.sampled_from("abc"), VALUES), max_size=6))
def test_keys_are_counted_as_if_row_by_row(rows: list[dict[str, Any]]) -> None:
    at_once, one_by_one = KeyCounter(), KeyCounter()
    flat = [flatten(row) for row in rows]
    at_once.add(range(len(flat)), columns_of(flat))
    for step, row in enumerate(flat):
        one_by_one.add([step], columns_of([row]))
    assert at_once.snapshot() == one_by_one.snapshot()
    for key, facts in at_once.snapshot()["keys"].items():
        values = [row[key] for row in flat if key in row]
        assert sum(entry["count"] for entry in facts["typeCounts"]) == len(values)
        numbers = [v for v in values if type(v) in (int, float) and abs(v) < 2**63]
        assert facts["previousValue"] == (numbers[-1] if numbers else None)
        assert facts["monotonic"] == (bool(numbers) and numbers == sorted(numbers))


def same_value(sent: Any, read: Any) -> bool:
    """Numbers are the same whatever their type; NaN and Infinity may have been sent as words."""
    if isinstance(read, float) and not isinstance(sent, bool):
        number = float(sent)
        return number == read or (math.isnan(number) and math.isnan(read))
    return bool(sent == read)


def test_a_boolean_among_numbers_stays_one(store: Store, run: RunRow) -> None:
    store.history.append(run, [json.dumps({"_step": 0, "x": [0.5, False]})])
    store.finish(run)
    assert exported(store, run)["x"].to_pylist() == ["[0.5,false]"]


def test_media_come_back_as_objects_where_they_are_alike(store: Store, run: RunRow) -> None:
    alike = {"_type": "histogram", "values": [1, 2], "bins": [0.5, 1, 2]}
    rows = [
        {"_step": 0, "h": alike, "m": {"_type": "image-file", "path": "p"}, "l": ["a", "b"]},
        {"_step": 1, "h": alike, "m": {"_type": "image-file", "caption": "c"}, "l": []},
        {"_step": 2, "h": {"_type": "histogram", "values": [], "bins": []}},
    ]
    store.history.append(run, [json.dumps(row) for row in rows])
    store.finish(run)
    table = exported(store, run)
    assert table["h"].to_pylist() == [row["h"] for row in rows]
    assert table["l"].to_pylist() == [["a", "b"], [], None]
    assert [json.loads(text.as_py()) for text in table["m"][:2]] == [rows[0]["m"], rows[1]["m"]]


def test_columns_of_a_long_run_wait_on_disk(
    store: Store, run: RunRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_tables, "_TEXT_A_CHUNK", 3_000)
    monkeypatch.setattr(spool, "IN_MEMORY", 2_000)
    rows: list[dict[str, Any]] = [{"_step": i, "x": i, "text": f"text {i}"} for i in range(200)]
    rows += [{"_step": 200 + i, "x": i / 7, "late": [i, {"a": i}]} for i in range(200)]
    store.history.append(run, [json.dumps(row) for row in rows])
    store.finish(run)
    token = store.history.exported(run, "parquet").tokens[0]
    table = pq.read_table(store.history.columns_path(token))
    assert table.column("_step").to_pylist() == list(range(400))
    assert table.column("x").to_pylist() == [float(row["x"]) for row in rows]
    assert table.column("text").to_pylist() == [row.get("text") for row in rows]
    assert table.column("late").null_count == 200
    assert pq.ParquetFile(store.history.columns_path(token)).num_row_groups > 5
