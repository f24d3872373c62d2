"""A run's history: what was sent is what is read, however it is stored."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aiowandb_server import Store
from aiowandb_server.store import segments
from aiowandb_server.store.history import Sampled
from aiowandb_server.store.lines import MAX_STEP
from aiowandb_server.store.records import RunRow

Prepare = Callable[[Store, RunRow], None]


def live(store: Store, run: RunRow) -> None:
    """All rows in SQLite."""


def compacted(store: Store, run: RunRow) -> None:
    """All rows in Parquet."""
    store.finish(run)


@pytest.fixture(params=[live, compacted], ids=lambda prepare: prepare.__name__)
def prepare(request: pytest.FixtureRequest) -> Prepare:
    chosen: Prepare = request.param
    return chosen


def lines_of(rows: list[dict[str, Any]]) -> list[str]:
    return [json.dumps(row, separators=(", ", ":")) for row in rows]


def everything(store: Store, run: RunRow) -> list[str]:
    return store.history.window(run, -MAX_STEP, MAX_STEP, 10**9)


STRANGE = [
    '{"none":null,"acc":0,"nest":{"x":0,"y":{"z":NaN}},"_runtime":0.6,"inf":Infinity,"_step":0}',
    '{ "_step" : 1 , "s": "\\u003cb\\u003e \\ud83d\\ude00", "lst":[1,2,0],"_timestamp":1.79e+09}',
    '{"_step":10,"h":{"_type":"histogram","values":[1,2],"bins":[0,0.5,1]},"neg":-Infinity}',
    '{"_step":11,"a.b":2,"a":{"b":3},"c/d":4,"ä":"ö"}',
]


def test_lines_come_back_byte_for_byte(store: Store, run: RunRow, prepare: Prepare) -> None:
    store.history.append(run, STRANGE)
    prepare(store, run)
    assert everything(store, run) == STRANGE


def test_a_window_includes_its_first_step_and_not_its_last(
    store: Store, run: RunRow, prepare: Prepare
) -> None:
    lines = lines_of([{"_step": step} for step in (0, 5, 6, 90)])
    store.history.append(run, lines)
    prepare(store, run)
    assert store.history.window(run, 5, 90, 100) == lines[1:3]
    assert store.history.window(run, 7, 90, 100) == []


def test_a_sample_is_even_and_keeps_both_ends(store: Store, run: RunRow, prepare: Prepare) -> None:
    lines = lines_of([{"_step": step} for step in range(101)])
    store.history.append(run, lines)
    prepare(store, run)
    assert store.history.window(run, 0, 1000, 5) == [lines[step] for step in (0, 25, 50, 75, 100)]
    assert store.history.window(run, 0, 1000, 5) == store.history.window(run, 0, 1000, 5)


def test_steps_need_not_come_in_order(store: Store, run: RunRow, prepare: Prepare) -> None:
    lines = lines_of([{"_step": step} for step in (5, 1, 3)])
    store.history.append(run, lines)
    prepare(store, run)
    assert everything(store, run) == [lines[1], lines[2], lines[0]]


def test_a_resent_line_overwrites_and_never_doubles(
    store: Store, run: RunRow, prepare: Prepare
) -> None:
    store.history.append(run, lines_of([{"_step": step, "x": 1} for step in range(4)]))
    prepare(store, run)
    again = lines_of([{"_step": step, "x": 2} for step in (2, 3, 4)])
    store.history.append(run, again, offset=2)
    fresh = store.runs.by_id(run.id)
    assert fresh is not None
    assert fresh.history_lines == 5
    assert everything(store, run) == lines_of([{"_step": s, "x": 1} for s in (0, 1)]) + again
    prepare(store, run)
    assert everything(store, run)[2:] == again


def test_integers_beyond_64_bits_are_sampled_as_they_are(store: Store, run: RunRow) -> None:
    store.history.append(run, [f'{{"_step":0,"big":{2**70},"low":{-(2**63) - 1}}}'])
    rows = store.history.sampled(run, Sampled(("big", "low"), 10))
    assert repr(rows) == repr([{"big": 2**70, "low": -(2**63) - 1}])


def test_a_string_is_counted_as_text(store: Store, run: RunRow) -> None:
    store.history.append(run, ['{"_step":0,"x":NaN,"s":"NaN"}', '{"_step":1,"x":1,"s":"a"}'])
    keys = json.loads(store.history.keys(run.id))["keys"]
    assert keys["x"]["typeCounts"] == [{"type": "number", "count": 2}]
    assert keys["s"]["typeCounts"] == [{"type": "string", "count": 2}]


def test_a_line_that_is_not_a_json_object_is_stored_separately(store: Store, run: RunRow) -> None:
    good = lines_of([{"_step": 0}, {"_step": 3}])
    sent = [good[0], "{broken", "[1]", good[1]]
    assert store.history.append(run, sent) == 2
    assert everything(store, run) == good
    assert store.history.rejected(run) == 2
    fresh = store.runs.by_id(run.id)
    assert fresh is not None
    assert fresh.history_lines == 4, "the next line's number counts what was sent"


def test_a_line_without_a_step_gets_its_number_as_step(store: Store, run: RunRow) -> None:
    store.history.append(run, ['{"x":0}', '{"x":1,"_step":2.0}'])
    assert store.history.window(run, 0, 1, 10) == ['{"x":0,"_step":0}']
    assert store.history.window(run, 2, 3, 10) == ['{"x":1,"_step":2.0}']


def test_sampled_rows_have_all_keys_under_dotted_names(
    store: Store, run: RunRow, prepare: Prepare
) -> None:
    store.history.append(
        run,
        lines_of(
            [
                {"_step": 0, "a": {"b": 1}, "x": "w"},
                {"_step": 1, "a": {"b": 2}},
                {"_step": 2, "a": {"b": float("nan")}, "x": "v"},
                {"_step": 3, "a": {"b": None}, "x": "u"},
            ]
        ),
    )
    prepare(store, run)
    rows = store.history.sampled(run, Sampled(("_step", "a.b", "x"), 10))
    assert [row["_step"] for row in rows] == [0, 2]
    assert rows[0] == {"_step": 0, "a.b": 1, "x": "w"}
    assert rows[1]["a.b"] != rows[1]["a.b"]
    assert store.history.sampled(run, Sampled(("a.b",), 10, 1, 2)) == [{"a.b": 2}]
    assert store.history.sampled(run, Sampled(("missing",), 10)) == []


def test_media_and_complete_objects_can_be_sampled(
    store: Store, run: RunRow, prepare: Prepare
) -> None:
    image = {"_type": "image-file", "path": "media/x.png", "size": 3}
    store.history.append(run, lines_of([{"_step": 0, "img": image, "n": {"a": 1}}]))
    prepare(store, run)
    rows = store.history.sampled(run, Sampled(("img", "n"), 10))
    assert rows == [{"img": image, "n": {"a": 1}}]


def test_a_literal_key_and_a_nested_one_are_distinguished(
    store: Store, run: RunRow, prepare: Prepare
) -> None:
    store.history.append(run, ['{"_step":0,"a":{"b":3},"a.b":2}'])
    prepare(store, run)
    names = ("a.b", r"a\.b")
    assert store.history.sampled(run, Sampled(names, 1)) == [{"a.b": 3, r"a\.b": 2}]


def test_history_keys_count_the_values_of_each_key(
    store: Store, run: RunRow, prepare: Prepare
) -> None:
    rows: list[dict[str, Any]] = [
        {"_step": 0, "loss": 3, "s": "a", "m": {"_type": "histogram"}, "b": True, "l": [1]},
        {"_step": 4, "loss": 2.5, "n": {"x": float("nan")}, "s": 1, "none": None},
    ]
    store.history.append(run, lines_of(rows))
    prepare(store, run)
    keys = json.loads(store.history.keys(run.id))
    types = {
        key: {entry["type"]: entry["count"] for entry in facts["typeCounts"]}
        for key, facts in keys["keys"].items()
    }
    assert keys["lastStep"] == 4
    assert types == {
        "_step": {"number": 2},
        "loss": {"number": 2},
        "s": {"string": 1, "number": 1},
        "m": {"histogram": 1},
        "b": {"boolean": 1},
        "l": {"list": 1},
        "n.x": {"number": 1},
        "none": {"nil": 1},
    }
    assert keys["keys"]["_step"]["monotonic"] is True
    assert keys["keys"]["loss"] == {
        "typeCounts": [{"type": "number", "count": 2}],
        "monotonic": False,
        "previousValue": 2.5,
    }


def test_history_keys_follow_new_and_rewritten_lines(store: Store, run: RunRow) -> None:
    def count() -> Any:
        return json.loads(store.history.keys(run.id))["keys"]["x"]["typeCounts"]

    store.history.append(run, lines_of([{"_step": 0, "x": 1}]))
    assert count() == [{"type": "number", "count": 1}]
    store.history.append(run, lines_of([{"_step": 1, "x": "a"}]))
    assert count() == [{"type": "number", "count": 1}, {"type": "string", "count": 1}]
    store.finish(run)
    store.history.append(run, lines_of([{"_step": 1, "x": 2}, {"_step": 2, "x": 3}]), offset=1)
    assert count() == [{"type": "number", "count": 3}]


def test_rewinding_forgets_later_steps(store: Store, run: RunRow, prepare: Prepare) -> None:
    lines = lines_of([{"_step": step} for step in range(10)])
    store.history.append(run, lines)
    prepare(store, run)
    store.history.rewind(run, 4)
    fresh = store.runs.by_id(run.id)
    assert fresh is not None
    assert fresh.history_lines == 5
    assert everything(store, run) == lines[:5]
    store.history.append(run, ['{"_step":5,"x":1}'])
    assert everything(store, run)[-1] == '{"_step":5,"x":1}'


def test_the_tail_is_the_last_line(store: Store, run: RunRow, prepare: Prepare) -> None:
    assert store.history.tail(run, "history") is None
    lines = lines_of([{"_step": step} for step in (1, 7)])
    store.history.append(run, lines)
    prepare(store, run)
    assert store.history.tail(run, "history") == lines[-1]


def test_events_are_sampled_too(store: Store, run: RunRow) -> None:
    lines = lines_of([{"system.cpu": index} for index in range(9)])
    store.history.append(run, lines, stream="events")
    fresh = store.runs.by_id(run.id)
    assert fresh is not None
    assert store.history.events(fresh, 3) == [lines[0], lines[4], lines[8]]


def test_a_logged_string_is_counted_as_text_even_if_it_looks_like_a_number(
    store: Store, run: RunRow
) -> None:
    def counts() -> dict[str, Any]:
        keys = json.loads(store.history.keys(run.id))["keys"]
        return {key: {t["type"]: t["count"] for t in keys[key]["typeCounts"]} for key in "xyz"}

    lines = ['{"x": "NaN", "y": NaN, "z": 1}', '{"x": "Infinity", "y": Infinity, "z": "NaN"}']
    store.history.append(run, lines)
    expected = {"x": {"string": 2}, "y": {"number": 2}, "z": {"number": 1, "string": 1}}
    assert counts() == expected
    store.finish(run)
    assert counts() == expected
    store.history.append(run, ['{"x": "-Infinity"}'])
    assert counts() == expected | {"x": {"string": 3}}


def test_a_page_of_a_long_run_is_read_without_the_rest_of_it(
    store: Store, run: RunRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "_ROWS_A_LINE_GROUP", 10)
    store.history.append(run, lines_of([{"_step": i} for i in range(1000)]))
    store.finish(run)
    read: list[int] = []
    original = pq.ParquetFile.read_row_group

    def counted(file: pq.ParquetFile, group: int, *args: Any, **options: Any) -> pa.Table:
        if args != (["step"],):  # which is read once, to know where they are
            read.append(group)
        return original(file, group, *args, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counted)
    assert len(store.history.window(run, 500, 520, 100)) == 20
    assert set(read) == {50, 51}
    read.clear()
    assert len(store.history.window(run, 505, 525, 10)) == 10
    assert set(read) == {50, 51, 52}
