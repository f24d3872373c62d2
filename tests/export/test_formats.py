"""What is written is read back with common libraries, and compared with what was logged."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from aiowandb import ExportError, UsageError
from aiowandb.api.runs import Runs
from aiowandb.export import Format, Nan, parquet
from aiowandb.export.formats import sink_for
from aiowandb.export.options import ExportOptions
from tests.export.conftest import Project, contents, history, steps

pytestmark = pytest.mark.anyio

LOGGED: list[dict[str, Any]] = [
    {"_step": 0, "loss": 0.5, "note": 'say "hi", twice', "ok": True},
    {"_step": 1, "loss": math.nan, "note": "two\r\nlines", "val": {"acc": 0.25}},
    {"_step": 2, "loss": math.inf, "note": "", "image": {"_type": "image-file", "size": 1}},
    {"_step": 10, "note": "=1+1", "bins": [1, 2]},
]
STEPS = [row["_step"] for row in LOGGED]
LOSSES = [0.5, math.nan, math.inf, None]


@pytest.fixture
def logged(project: Project) -> Project:
    project.log("a", LOGGED)
    return project


def same(one: Any, other: Any) -> bool:
    return bool(one == other or (one != one and other != other))


async def test_pandas_polars_and_duckdb_read_the_parquet_dataset(
    logged: Project, runs: Runs, out: Path
) -> None:
    await runs.export(out)
    frame = pd.read_parquet(out / "history")
    assert frame["_step"].tolist() == STEPS
    assert frame["note"].tolist() == [row["note"] for row in LOGGED]
    polars = pl.read_parquet(out / "history" / "*.parquet")
    assert all(map(same, polars["loss"].to_list(), LOSSES))
    assert polars["val.acc"].to_list() == [None, 0.25, None, None]
    found = duckdb.read_parquet(f"{out}/history/*.parquet").order("_step")
    assert [row[0] for row in found.fetchall()] == ["a"] * 4
    assert json.loads(frame["image"][2]) == LOGGED[2]["image"]


async def test_parquet_has_row_groups_statistics_and_zstd(
    project: Project, runs: Runs, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert parquet.GROUP_ROWS == 131_072
    monkeypatch.setattr(parquet, "GROUP_ROWS", 1_000)
    project.log("a", steps(0, 1_300))
    await runs.export(out)
    metadata = pq.read_metadata(out / "history" / "part-00000.parquet")
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [
        1_000,
        300,
    ]
    step = metadata.row_group(0).column(metadata.schema.names.index("_step"))
    assert step.statistics is not None
    assert (step.compression, step.statistics.min, step.statistics.max) == ("ZSTD", 0, 999)
    run_id = metadata.row_group(0).column(0)
    assert (run_id.path_in_schema, run_id.has_dictionary_page) == ("run_id", True)
    assert pa.types.is_dictionary(history(out).schema.field("run_id").type)


async def test_csv_is_read_back_by_other_libraries(logged: Project, runs: Runs, out: Path) -> None:
    await runs.export(out, format="csv")
    text = (out / "history.csv").read_bytes().decode()
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [row["note"] for row in rows] == [row["note"] for row in LOGGED]
    assert text.count("\r\n") == len(LOGGED) + 2  # one of them is in a note
    frame = pd.read_csv(out / "history.csv")
    assert frame["_step"].tolist() == STEPS
    assert frame["loss"].tolist()[2] == math.inf
    assert pl.read_csv(out / "history.csv")["_step"].to_list() == STEPS
    found = duckdb.read_csv(str(out / "history.csv"), all_varchar=True).project("note")
    assert found.fetchall()[3] == ("=1+1",)


def test_the_lines_of_a_csv_end_in_crlf_and_its_cells_are_left_as_they_are() -> None:
    texts = ["a\nb", 'say "hi"\n', "\r\n", "", None, '"', '""\n"', "a,b", "ü\r"]
    columns: dict[str, list[Any]] = {
        'head "line"\nof two': texts,
        "number": [1, -1, None, 2**62, 0, 3, 4, 5, 6],
        "loss": [0.1, math.nan, math.inf, -math.inf, None, 1e300, -0.0, 1e-9, 3.0],
        "ok": [True, False, None] * 3,
        "bins": [[1, 2], None, [], [3], None, None, None, None, [4]],
    }
    table = pa.table(columns)
    file = io.BytesIO()
    sink = sink_for(ExportOptions(format="csv"))(file, table.schema)
    for batch in table.to_batches(max_chunksize=2):
        sink.write(batch)
    sink.close()
    cells = [b'"head ""line""\nof two"', b'"number"', b'"loss"', b'"ok"', b'"bins"']
    lines = [
        b'"a\nb",1,0.1,true,"[1,2]"',
        b'"say ""hi""\n",-1,nan,false,',
        b'"\r\n",,inf,,"[]"',
        b'"",4611686018427387904,-inf,true,"[3]"',
        b",0,,false,",
        b'"""",3,1e+300,,',
        b'"""""\n""",4,-0,true,',
        b'"a,b",5,1e-9,false,',
        b'"\xc3\xbc\r",6,3,,"[4]"',
    ]
    assert file.getvalue() == b"\r\n".join([b",".join(cells), *lines, b""])


async def test_a_safe_csv_has_nothing_that_a_spreadsheet_would_run(
    project: Project, runs: Runs, out: Path
) -> None:
    cells = ["=cmd()", "+1", "-1", "@x", "\tx", "a=b"]
    project.log("a", [{"_step": i, "=key": cell} for i, cell in enumerate(cells)])
    await runs.export(out, format="csv", safe_csv=True)
    with (out / "history.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["run_id", "_step", "'=key"]
    assert [row[2] for row in rows] == ["'" + cell for cell in cells[:5]] + ["a=b"]


async def test_json_lines_have_what_was_logged(logged: Project, runs: Runs, out: Path) -> None:
    await runs.export(out, format="jsonl")
    rows = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    assert rows[0] == {"run_id": "a", **LOGGED[0]}
    assert rows[1]["loss"] is None
    assert rows[1]["val.acc"] == 0.25
    assert rows[2]["image"] == LOGGED[2]["image"]
    assert rows[3] == {"run_id": "a", **LOGGED[3]}
    assert pd.read_json(out / "history.jsonl", lines=True)["_step"].tolist() == STEPS
    (run,) = [json.loads(line) for line in (out / "runs.jsonl").read_text().splitlines()]
    assert (run["run_id"], run["state"]) == ("a", "finished")


NAN_ROWS: list[dict[str, Any]] = [
    {"_step": 0, "loss": math.nan, "list": [0.5, math.nan], "media": {"_type": "x", "v": math.inf}},
    {"_step": 1, "loss": -math.inf, "note": "NaN"},
    {"_step": 2, "loss": 0.5, "list": [math.inf, 1.5]},
]


@pytest.mark.parametrize("finish", [True, False])
async def test_pandas_polars_and_duckdb_read_nan_in_json_lines(
    project: Project, runs: Runs, out: Path, finish: bool
) -> None:
    project.log("a", NAN_ROWS, finish=finish)
    await runs.export(out, format="jsonl")
    file = out / "history.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert [row["loss"] for row in rows] == [None, None, 0.5]
    assert (rows[0]["list"], rows[1]["note"], rows[2]["list"]) == ([0.5, None], "NaN", [None, 1.5])
    frame = pd.read_json(file, lines=True)
    assert frame["loss"].dtype == float
    assert frame["loss"].isna().tolist() == [True, True, False]
    polars = pl.read_ndjson(file)
    assert polars["loss"].to_list() == [None, None, 0.5]
    assert polars["list"].to_list() == [[0.5, None], None, [None, 1.5]]
    found = duckdb.read_json(str(file)).project("loss, note").fetchall()
    assert found == [(None, None), (None, "NaN"), (0.5, None)]


@pytest.mark.parametrize(
    ("nan", "losses", "items"),
    [
        ("null", "null null 0.5", "[0.5,null] [null,1.5]"),
        ("text", '"NaN" "-Infinity" 0.5', '[0.5,"NaN"] ["Infinity",1.5]'),
        ("token", "NaN -Infinity 0.5", "[0.5,NaN] [Infinity,1.5]"),
    ],
)
async def test_nan_is_written_as_it_is_asked_for(
    project: Project, runs: Runs, out: Path, nan: Nan, losses: str, items: str
) -> None:
    project.log("a", NAN_ROWS)
    await runs.export(out, format="jsonl", nan=nan)
    text = (out / "history.jsonl").read_text()
    assert re.findall(r'"loss":(.*?)[,}]', text) == losses.split()
    assert re.findall(r'"list":(\[.*?])', text) == items.split()
    assert (await runs.export(out, format="jsonl", nan=nan)).requests == 1


async def test_a_folder_of_an_earlier_version_continues_with_text(
    project: Project, runs: Runs, out: Path
) -> None:
    project.log("a", NAN_ROWS, finish=False)
    await runs.export(out, format="jsonl", nan="text")
    journal = out / ".aiowandb-export" / "journal.jsonl"
    before = journal.read_text()
    journal.write_text(before.replace(',"nan":"text"', ""))
    assert journal.read_text() != before
    project.log("a", [{"_step": 3, "loss": math.nan}])
    await runs.export(out, format="jsonl")
    text = (out / "history.jsonl").read_text()
    assert re.findall(r'"loss":(.*?)[,}]', text) == ['"NaN"', '"-Infinity"', "0.5", '"NaN"']
    await runs.export(out, format="jsonl", nan="text")
    with pytest.raises(ExportError, match="nan 'text' there, 'null' here"):
        await runs.export(out, format="jsonl", nan="null")
    await runs.export(out, format="jsonl", overwrite=True)
    assert '"loss":null' in (out / "history.jsonl").read_text()


async def test_a_folder_keeps_the_options_of_its_first_export(
    project: Project, runs: Runs, out: Path
) -> None:
    project.log("a", NAN_ROWS, finish=False)
    await runs.export(out, format="jsonl", nan="token")
    project.log("a", [{"_step": 3, "loss": math.nan}])
    await runs.export(out, format="jsonl")
    assert (out / "history.jsonl").read_text().count("NaN") == 4


async def test_arrow_files_are_read_back(logged: Project, runs: Runs, out: Path) -> None:
    project = logged
    project.log("b", steps(0, 10))
    await runs.export(out, format="arrow")
    with pa.memory_map(str(out / "history.arrow")) as file:
        table = pa.ipc.open_file(file).read_all()
    assert table["_step"].to_pylist() == [*STEPS, *range(10)]
    assert pd.read_feather(out / "history.arrow")["run_id"].tolist() == ["a"] * 4 + ["b"] * 10
    assert pl.read_ipc(out / "history.arrow")["_step"].to_list() == [*STEPS, *range(10)]


async def test_the_long_layout_has_a_row_a_value(project: Project, runs: Runs, out: Path) -> None:
    project.log("a", [{"_step": 0, "x": 1, "y": 0.5}, {"_step": 1, "y": math.nan}])
    await runs.export(out, layout="long")
    table = history(out)
    assert table.schema.names == ["run_id", "_step", "key", "value"]
    rows = [tuple(row.values()) for row in table.to_pylist()]
    assert rows[:2] == [("a", 0, "x", 1.0), ("a", 0, "y", 0.5)]
    assert rows[2][:3] == ("a", 1, "y")
    assert len(rows) == 3


async def test_values_of_many_kinds_are_json_in_the_long_layout(
    logged: Project, runs: Runs, out: Path
) -> None:
    await runs.export(out, layout="long")
    values = {(row["_step"], row["key"]): row["value"] for row in history(out).to_pylist()}
    assert values[0, "loss"] == "0.5"
    assert values[0, "note"] == json.dumps(LOGGED[0]["note"])
    assert json.loads(values[2, "image"]) == LOGGED[2]["image"]


@pytest.mark.parametrize("format", ["parquet", "csv"])
async def test_split_gives_each_run_its_file(
    project: Project, runs: Runs, out: Path, format: Format
) -> None:
    for name in "ab":
        project.log(name, steps(0, 3))
    await runs.export(out, format=format, split="run", on_deleted="drop")
    assert contents(out).keys() == {
        f"runs.{format}",
        f"history/a.{format}",
        f"history/b.{format}",
    }
    project.log("c", steps(0, 3))
    project.delete("a")
    before = (out / f"history/b.{format}").stat().st_mtime_ns
    await runs.export(out, format=format, split="run", on_deleted="drop")
    assert (out / f"history/b.{format}").stat().st_mtime_ns == before
    assert contents(out).keys() == {
        f"runs.{format}",
        f"history/b.{format}",
        f"history/c.{format}",
    }


async def test_keys_choose_rows_and_columns_by_name_or_glob(
    project: Project, runs: Runs, out: Path
) -> None:
    project.log("a", [{"_step": 0, "x": 1}, {"_step": 1, "val/y": 2}, {"_step": 2, "z": 3}])
    await runs.export(out, keys=["x", "val/*"])
    assert history(out).to_pylist() == [
        {"run_id": "a", "_step": 0, "val/y": None, "x": 1.0},
        {"run_id": "a", "_step": 1, "val/y": 2.0, "x": None},
    ]


async def test_columns_can_be_left_out(project: Project, runs: Runs, out: Path) -> None:
    project.log("a", steps(0, 2, big="x"))
    await runs.export(out, exclude=["b*", "_timestamp"])
    assert history(out).schema.names == ["run_id", "_step", "loss"]


async def test_steps_can_be_limited_for_live_runs_too(
    project: Project, runs: Runs, out: Path
) -> None:
    project.log("a", steps(0, 10), finish=False)
    await runs.export(out, min_step=5, max_step=15)
    assert history(out)["_step"].to_pylist() == list(range(5, 10))
    project.log("a", steps(10, 20), finish=False)
    await runs.export(out, min_step=5, max_step=15)
    assert history(out)["_step"].to_pylist() == list(range(5, 15))


async def test_a_sample_of_each_run(project: Project, runs: Runs, out: Path) -> None:
    for name in "ab":
        project.log(name, steps(0, 1000))
    await runs.export(out, samples=10)
    assert history(out)["run_id"].to_pylist() == ["a"] * 10 + ["b"] * 10
    assert (await runs.export(out, samples=10)).requests == 1


async def test_system_metrics_are_a_table_of_their_own(
    project: Project, runs: Runs, out: Path
) -> None:
    for name in "ab":
        project.log(name, steps(0, 3))
        project.log_system(name, [{"_timestamp": 1.0 + i, "system.cpu": 50.0} for i in range(4)])
    await runs.export(out, what=["system"])
    table = pq.read_table(out / "system")
    assert table.schema.names == ["run_id", "_timestamp", "system.cpu"]
    assert table["_timestamp"].to_pylist() == [1.0, 2.0, 3.0, 4.0] * 2
    assert (await runs.export(out, what=["system"])).requests == 1


async def test_a_key_that_is_called_like_our_column_keeps_its_values(
    project: Project, runs: Runs, out: Path
) -> None:
    project.log("a", [{"_step": 0, "run_id": "mine", "run_id_logged": "mine too"}])
    await runs.export(out)
    kept = {"run_id_logged": "mine", "run_id_logged_logged": "mine too"}
    assert history(out).to_pylist() == [{"run_id": "a", "_step": 0, **kept}]


@pytest.mark.parametrize("finish", [True, False])
async def test_names_stay_as_they_were_logged(
    project: Project, runs: Runs, tmp_path: Path, finish: bool
) -> None:
    names = ["", " ", 'a"b', "two\nlines", "a,b", "x=y;{}()", "=1+1", "naïve ☃", "a/b", "a..b"]
    names += [".lead", "trail.", "it's", "a\\b", "tab\tx", "key", "value", "Loss", "loss"]
    row = {name: place + 0.5 for place, name in enumerate(names)}
    project.log("a", [{"_step": 0, **row}], finish=finish)
    formats: tuple[Format, ...] = ("parquet", "csv", "jsonl", "arrow")
    for kind in formats:
        await runs.export(tmp_path / kind, format=kind)
    expected = {"run_id": "a", "_step": 0, **row}
    assert history(tmp_path / "parquet").to_pylist() == [expected]
    with (tmp_path / "csv" / "history.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == [{key: str(v) for key, v in expected.items()}]
    assert json.loads((tmp_path / "jsonl" / "history.jsonl").read_text()) == expected
    with pa.memory_map(str(tmp_path / "arrow" / "history.arrow")) as arrow:
        assert pa.ipc.open_file(arrow).read_all().to_pylist() == [expected]
    await runs.export(tmp_path / "delta", format="delta", exclude=["Loss"])
    (found,) = DeltaTable(tmp_path / "delta" / "history").to_pyarrow_table().to_pylist()
    assert found == {key: value for key, value in expected.items() if key != "Loss"}


@pytest.mark.parametrize("finish", [True, False])
async def test_names_that_differ_only_by_a_literal_dot_are_distinguished(
    project: Project, runs: Runs, out: Path, finish: bool
) -> None:
    deep = {"b.c": 3.0, "b": {"c": 4.0}}
    project.log("a", [{"_step": 0, "val.acc": 1.0, "val": {"acc": 2.0}, "a": deep}], finish=finish)
    await runs.export(out)
    told_apart = {"a.b.c": 4.0, r"a.b\.c": 3.0, "val.acc": 2.0, r"val\.acc": 1.0}
    assert history(out).to_pylist() == [{"run_id": "a", "_step": 0, **told_apart}]


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"format": "xml"}, "format must be one of parquet, csv, jsonl, arrow, delta, not 'xml'"),
        ({"what": ["plots"]}, "'plots' is not one of them"),
        ({"layout": "tall"}, "layout must be one of wide, long, not 'tall'"),
        ({"split": "day"}, "split must be 'run', or None, not 'day'"),
        ({"samples": 0}, "samples must be a whole number and at least 1"),
        ({"keys": "loss"}, "keys must be specified in a list"),
        ({"nan": "none"}, "nan must be one of null, text, token, or None, not 'none'"),
        ({"nan": "text"}, "nan requires the format jsonl, not parquet"),
        ({"safe_csv": True}, "safe_csv requires the format csv, not parquet"),
        ({"min_step": 5, "max_step": 5}, "No step is at least 5 and below 5"),
        ({"max_step": 0}, "No step is at least 0 and below 0"),
    ],
)
async def test_wrong_options_are_refused_before_anything_is_sent(
    runs: Runs, out: Path, wrong: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(UsageError, match=complaint):
        await runs.export(out, **wrong)
    assert not out.exists()
