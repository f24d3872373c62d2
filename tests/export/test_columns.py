"""One schema for all runs, whatever they have logged, without losing values."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aiowandb.api.runs import Runs
from aiowandb.export import Clash, Format
from aiowandb.export.runs_table import RunsTable
from aiowandb.export.schema import LongSchema, RowSchema, SchemaSurprise
from aiowandb.history.columns import Kind, rows_to_batch
from aiowandb.wire.record import RunRecord
from tests.export.conftest import Project, Server, history, steps

pytestmark = pytest.mark.anyio


def test_a_batch_that_was_not_announced_is_a_surprise_and_loses_no_value() -> None:
    batch = rows_to_batch([{"_step": 0, "a": "text", "new": 1}])
    schema = RowSchema({"a": Kind.FLOAT})
    with pytest.raises(SchemaSurprise) as caught:
        schema.fit("r", batch)
    wider = schema.widened(caught.value.keys)
    assert wider.fit("r", batch).to_pylist() == [
        {"run_id": "r", "_step": 0, "a": '"text"', "new": 1}
    ]
    assert wider.clashes == {"a"}


def test_the_table_of_runs_takes_little_memory_for_configs_that_are_alike() -> None:
    config = json.dumps({f"k{n}": {"value": f"{n} " * 500} for n in range(20)})
    table = RunsTable()
    before = pa.total_allocated_bytes()
    for page in range(20):
        ids = [f"{page}-{n}" for n in range(10)]
        runs = [
            RunRecord(storage_id=run, id=run, config_json=config, summary_json="") for run in ids
        ]
        table.add(runs)
    assert pa.total_allocated_bytes() - before < 200 * len(config) / 10
    assert sum(batch.num_rows for batch in table.batches()) == 200


def test_a_column_without_values_is_of_any_kind() -> None:
    nulls = pa.record_batch({"_step": [0], "x": pa.nulls(1, pa.string()), "y": pa.nulls(1)})
    for kind in (Kind.FLOAT, Kind.FLOATS, Kind.BOOL, Kind.JSON):
        schema, fitted = RowSchema({"x": kind}).fit_or_widen("r", nulls)
        assert (schema.kinds, schema.clashes) == ({"x": kind}, frozenset())
        assert fitted.to_pylist() == [{"run_id": "r", "_step": 0, "x": None}]


def test_a_column_without_values_has_no_rows_in_the_long_layout() -> None:
    batch = pa.record_batch({"_step": [0], "x": pa.nulls(1, pa.string()), "y": [0.5]})
    schema, fitted = LongSchema().fit_or_widen("r", batch)
    assert schema.kinds == {"value": Kind.FLOAT}
    assert fitted.to_pylist() == [{"run_id": "r", "_step": 0, "key": "y", "value": 0.5}]


def test_a_key_that_is_called_like_ours_may_be_a_surprise_too() -> None:
    batch = rows_to_batch([{"_step": 0, "run_id": "mine"}])
    wider, fitted = RowSchema().fit_or_widen("r", batch)
    assert fitted.to_pylist() == [{"run_id": "r", "_step": 0, "run_id_logged": "mine"}]
    assert wider.fit("r", batch) == fitted


def test_rows_of_a_narrower_schema_are_cast_without_losing_a_value() -> None:
    old = RowSchema({"a": Kind.FLOAT}).fit("r", rows_to_batch([{"_step": 0, "a": 0.5}]))
    wider = RowSchema({"a": Kind.JSON, "b": Kind.TEXT})
    assert wider.recast(old).to_pylist() == [{"run_id": "r", "_step": 0, "a": "0.5", "b": None}]


async def test_ints_and_floats_are_floats(project: Project, runs: Runs, out: Path) -> None:
    project.log("ints", [{"_step": 0, "x": 1}])
    project.log("floats", [{"_step": 0, "x": 0.5}])
    result = await runs.export(out)
    assert history(out)["x"].to_pylist() == [1.0, 0.5]
    assert result.clashes == ()


async def test_numbers_mixed_with_text_become_json_text_and_are_reported(
    project: Project, runs: Runs, out: Path
) -> None:
    project.log("numbers", [{"_step": 0, "x": 1.5}, {"_step": 1, "x": 2.5}])
    project.log("texts", [{"_step": 0, "x": "high"}, {"_step": 1, "y": 1}])
    result = await runs.export(out)
    assert history(out)["x"].to_pylist() == ["1.5", "2.5", '"high"', None]
    assert result.clashes == (Clash("x", 3),)


@pytest.mark.parametrize("finish", [True, False])
async def test_columns_that_w_and_b_has_not_announced_are_there(
    small_parts: None, project: Project, runs: Runs, server: Server, out: Path, finish: bool
) -> None:
    for name, values in (("a", {}), ("b", {"late": 1}), ("c", {"late": "text"}), ("d", {})):
        project.log(name, steps(0, 120, **values), finish=finish)
    server.forgets = {"late"}
    result = await runs.export(out)
    assert history(out)["late"].to_pylist() == (
        [None] * 120 + ["1"] * 120 + ['"text"'] * 120 + [None] * 120
    )
    schemas = {pq.read_schema(path).to_string() for path in (out / "history").iterdir()}
    assert len(schemas) == 1
    assert result.clashes == (Clash("late", 240),)


@pytest.mark.slow
async def test_ten_thousand_columns_are_no_matter(project: Project, runs: Runs, out: Path) -> None:
    for number in range(20):
        values = {f"layer{number}/{i}": float(i) for i in range(500)}
        project.log(f"run-{number}", [{"_step": 0, **values}], finish=number % 2 > 0)
    await runs.export(out)
    table = history(out)
    assert (table.num_rows, table.num_columns) == (20, 10_002)
    assert table["layer7/42"].to_pylist() == [None] * 7 + [42.0] + [None] * 12


async def test_a_config_of_numbers_and_text_is_reported_too(
    project: Project, runs: Runs, out: Path
) -> None:
    for name, config in (
        ("a", {"lr": 0.1, "dims": [1, 2], "_own": 1}),
        ("b", {"lr": "auto", "dims": ["x"], "_own": 2}),
        ("c", {"lr": None, "dims": None}),
    ):
        project.log(name, steps(0, 1))
        project.configure(name, config)
    result = await runs.export(out)
    table = pq.read_table(out / "runs.parquet")
    assert table["config.lr"].to_pylist() == ["0.1", '"auto"', None]
    assert table["config._own"].to_pylist() == [1, 2, None]
    assert result.clashes == (Clash("config.lr", 2), Clash("config.dims", 2))


@pytest.mark.parametrize("format", ["parquet", "csv"])
@pytest.mark.parametrize("finish", [True, False])
async def test_a_type_that_we_do_not_know_makes_no_text_of_numbers(
    project: Project, runs: Runs, server: Server, out: Path, format: Format, finish: bool
) -> None:
    project.log("a", [{"_step": 0, "x": 1.5, "y": 2.5}], finish=finish)
    server.types = {"x": "float-of-the-future", "y": "number"}
    for _ in range(2):
        result = await runs.export(out, format=format)
        assert result.clashes == ()
        table = pd.read_csv(out / "history.csv") if format == "csv" else history(out).to_pandas()
        assert table[["x", "y"]].values.tolist() == [[1.5, 2.5]]
        project.log("b", [{"_step": 0, "x": 3.5}], finish=finish)
        server.types["x"] = "number"
        project.delete("b")


async def test_a_stream_has_a_column_also_for_a_type_that_we_do_not_know(
    project: Project, runs: Runs, server: Server
) -> None:
    project.log("a", [{"_step": 0, "x": "text"}])
    server.forgets, server.types = {"y"}, {"x": "text-of-the-future"}
    batches: list[pa.RecordBatch] = []

    class Sink:
        write = batches.append

        def close(self) -> None:
            pass

    await runs.export(Sink())
    assert [batch.to_pylist() for batch in batches] == [[{"run_id": "a", "_step": 0, "x": "text"}]]
