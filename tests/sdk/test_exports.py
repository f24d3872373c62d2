"""Exports of what the real SDK has logged, read back with common libraries for each format."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.json as pa_json
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from aiowandb import Api
from aiowandb.export import Clash, Format
from tests.sdk.conftest import served

pytestmark = pytest.mark.sdk

Row = dict[str, Any]
Export = Callable[[Format], Path]
nan, inf = math.nan, math.inf

# As a script logs it, nested and all.
LOGGED: dict[str, list[Row]] = {
    "first": [
        {"loss": 0.5, "whole": 1, "note": 'say "hi", twice', "ok": True, "mixed": 1.5},
        {"loss": nan, "whole": 2, "note": "two\nlines; naïve ☃", "ok": False, "list": [1, 2]},
        {"loss": -inf, "note": "=1+1", "val": {"acc": 0.25, "deep": {"er": 7}}},
        {"loss": inf, "note": "", "val.acc": 0.75, "train/lr": 1e-300, "list": [3]},
        {"mixed": 2, "words": ["a", "b"], "nothing": None},
    ],
    "second": [
        {"loss": step / 7, "whole": 10**step, "mixed": f"at {step}", "ok": step % 2 == 0}
        for step in range(10)
    ],
}
SCRIPT = """
for name, rows in LOGGED.items():
    with wandb.init(project="interop", id=name, config={"lr": 0.1, "net": {"dims": [1, 2]}},
                    name=f"the {name}", tags=["t1", name]) as run:
        for row in rows:
            run.log(row)
        run.log({"picture": wandb.Html("<b>x</b>")})
report()
"""
ROWS = sum(len(rows) + 1 for rows in LOGGED.values())


class Reader(NamedTuple):
    """Whoever reads a format: which of null, NaN and empty text are the same to them, and
    whether they can read columns that have numbers and words."""

    format: Format
    name: str
    read: Callable[[Path], list[Row]]
    blurred: frozenset[str] = frozenset()
    is_whole: bool = True


def rows_of(table: pa.Table) -> list[Row]:
    rows: list[Row] = table.to_pylist()
    return rows


def rows_of_frame(frame: pd.DataFrame) -> list[Row]:
    return [dict(zip(frame, row, strict=True)) for row in frame.itertuples(index=False)]


def rows_of_relation(found: duckdb.DuckDBPyRelation) -> list[Row]:
    return rows_of(found.to_arrow_table())


def arrow_file(path: Path) -> pa.Table:
    with pa.memory_map(str(path)) as file:
        return pa.ipc.open_file(file).read_all()


def parquet_files(path: Path) -> str:
    return f"{path}/*.parquet" if path.is_dir() else str(path)


def csv_with_pyarrow(path: Path) -> pa.Table:
    return pa_csv.read_csv(
        path,
        parse_options=pa_csv.ParseOptions(newlines_in_values=True),
        convert_options=pa_csv.ConvertOptions(
            null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False
        ),
    )


def json_with_pyarrow(path: Path) -> pa.Table:
    """What is of one kind: a column of numbers and words is an error to pyarrow."""
    wanted: list[tuple[str, pa.DataType]] = [
        *((name, pa.string()) for name in ("run_id", "name", "note")),
        *((name, pa.float64()) for name in ("_step", "loss", "whole", "val.acc", "config.lr")),
        *((name, pa.list_(pa.int64())) for name in ("list", "config.net.dims")),
        ("ok", pa.bool_()),
    ]
    options = pa_json.ParseOptions(
        explicit_schema=pa.schema(wanted), unexpected_field_behavior="ignore"
    )
    table = pa_json.read_json(path, parse_options=options)
    return table.select(
        [name for name in table.column_names if table[name].null_count < len(table)]
    )


# What is null in JSON Lines.
NO_NUMBERS = frozenset({"null", "nan", "infinite"})
READERS = [
    Reader("parquet", "pyarrow", lambda path: rows_of(pq.read_table(path))),
    Reader(
        "parquet",
        "pandas",
        lambda path: rows_of_frame(pd.read_parquet(path)),
        frozenset({"null", "nan"}),
    ),
    Reader("parquet", "polars", lambda path: pl.scan_parquet(path).collect().to_dicts()),
    Reader(
        "parquet",
        "duckdb",
        lambda path: rows_of_relation(duckdb.read_parquet(parquet_files(path))),
    ),
    Reader("arrow", "pyarrow", lambda path: rows_of(arrow_file(path))),
    Reader(
        "arrow",
        "pandas",
        lambda path: rows_of_frame(pd.read_feather(path)),
        frozenset({"null", "nan"}),
    ),
    Reader("arrow", "polars", lambda path: pl.read_ipc(path).to_dicts()),
    Reader("arrow", "duckdb", lambda path: rows_of_relation(duckdb.from_arrow(arrow_file(path)))),
    Reader("csv", "pyarrow", lambda path: rows_of(csv_with_pyarrow(path))),
    Reader(
        "csv",
        "pandas",
        lambda path: rows_of_frame(pd.read_csv(path)),
        frozenset({"null", "nan", "empty"}),
    ),
    Reader(
        "csv",
        "polars",
        lambda path: pl.read_csv(path, schema_overrides={"loss": pl.Float64}).to_dicts(),
    ),
    Reader(
        "csv",
        "duckdb",
        lambda path: rows_of_relation(duckdb.read_csv(str(path), allow_quoted_nulls=False)),
    ),
    Reader(
        "jsonl",
        "pyarrow",
        lambda path: rows_of(json_with_pyarrow(path)),
        NO_NUMBERS,
        is_whole=False,
    ),
    Reader(
        "jsonl",
        "pandas",
        lambda path: rows_of_frame(pd.read_json(path, lines=True, precise_float=True, dtype=False)),
        NO_NUMBERS,
    ),
    Reader(
        "jsonl",
        "polars",
        lambda path: pl.read_ndjson(path, infer_schema_length=None).to_dicts(),
        NO_NUMBERS,
    ),
    Reader(
        "jsonl", "duckdb", lambda path: rows_of_relation(duckdb.read_json(str(path))), NO_NUMBERS
    ),
    Reader("delta", "deltalake", lambda path: rows_of(DeltaTable(path).to_pyarrow_table())),
    Reader("delta", "polars", lambda path: pl.read_delta(str(path)).to_dicts()),
]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Export]:
    """The folder with the project in a format."""
    folder = tmp_path_factory.mktemp("sdk")
    with served(folder) as sdk, Api(sdk.store.local_key, base_url=sdk.url) as api:
        sdk.run(f"from math import nan, inf\nLOGGED = {LOGGED!r}\n{SCRIPT}")
        runs = api.runs("local/interop", order="+created_at")

        def export(format: Format) -> Path:
            out = folder / format
            if not out.exists():
                result = runs.export(out, format=format)
                assert (result.rows, result.failed) == (ROWS, ())
                assert result.clashes == (Clash("summary.mixed", 2), Clash("mixed", 12))
            return out

        yield export


def table_in(folder: Path, name: str, format: Format) -> Path:
    found = folder / f"{name}.{format}"
    return found if found.exists() else folder / name


reads = pytest.mark.parametrize("reader", READERS, ids=lambda reader: "-".join(reader[:2]))


@reads
def test_every_row_has_what_was_logged(exported: Export, reader: Reader) -> None:
    rows = reader.read(table_in(exported(reader.format), "history", reader.format))
    rows.sort(key=lambda row: (row["run_id"], row["_step"]))  # a Delta table has no order
    logged = [
        {"run_id": run, "_step": step, **flat(row)}
        for run, rows_of_run in LOGGED.items()
        for step, row in enumerate([*rows_of_run, {"picture": "html-file"}])
    ]
    if reader.is_whole:
        assert {name for row in logged for name in row} - {"nothing"} <= rows[0].keys()
    for row, expected in zip(rows, logged, strict=True):
        for name in row.keys() - {"_runtime", "_timestamp"}:
            assert says(row[name], expected.get(name), reader.blurred), (name, row, expected)


@reads
def test_the_runs_have_their_configs(exported: Export, reader: Reader) -> None:
    rows = reader.read(table_in(exported(reader.format), "runs", reader.format))
    assert {row["run_id"] for row in rows} == LOGGED.keys()
    for row in rows:
        run = row["run_id"]
        expected = {"name": f"the {run}", "config.lr": 0.1, "config.net.dims": [1, 2]}
        expected |= {"tags": ["t1", run], "summary.mixed": LOGGED[run][-1]["mixed"]}
        for name in expected.keys() & row.keys():
            assert says(row[name], expected[name], frozenset()), (name, row)


def flat(row: Mapping[str, Any], prefix: str = "") -> Row:
    found: Row = {}
    for key, value in row.items():
        found |= (
            flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        )
    return found


def says(found: Any, logged: Any, blurred: frozenset[str]) -> bool:
    """Whether a cell says what was logged, as itself or as JSON; of media, what they are."""
    if found is not None and hasattr(found, "tolist"):
        found = found.tolist()
    if blurred.issuperset((sort(found), sort(logged))):
        return True
    if isinstance(found, str) and found != logged:
        found = json.loads(found)
    if isinstance(found, dict):
        found = found["_type"]
    if isinstance(logged, float) and math.isnan(logged):
        return found == "NaN" or sort(found) == "nan"
    if isinstance(logged, float) and math.isinf(logged):
        return found in (logged, "Infinity" if logged > 0 else "-Infinity")
    return bool(found == logged) and isinstance(found, bool) == isinstance(logged, bool)


def sort(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, float) and math.isnan(value):
        return "nan"
    if isinstance(value, float) and math.isinf(value):
        return "infinite"
    return "empty" if value == "" else "value"
