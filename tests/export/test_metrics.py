"""The tables of metrics and of sweeps."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from aiowandb import Format
from aiowandb.api.runs import Runs
from tests.export.conftest import Project, steps

pytestmark = pytest.mark.anyio

# What `define_metric` makes of: epoch; val/* with the step metric epoch, hidden; loss with the
# summaries min and last and a goal.
_DEFINED = [
    {"1": "epoch", "6": [3]},
    {"2": "val/*", "5": 1, "6": [2, 3]},
    {"1": "loss", "4": "epoch", "7": [1, 5], "8": 1},
]


@pytest.fixture
def with_metrics(project: Project) -> Project:
    project.log("a", [{"_step": 0, "loss": 1.0, "epoch": 0, "val/acc": 0.5, "note": "x"}])
    project.log("b", steps(0, 2))
    project.define_metrics("a", _DEFINED)
    return project


async def test_each_key_has_its_type_x_axis_and_summary_rule(
    with_metrics: Project, runs: Runs, out: Path
) -> None:
    await runs.export(out, what=["metrics"])
    rows = pq.read_table(out / "metrics").to_pylist()
    of_a = {row.pop("key"): row for row in rows if row.pop("run_id") == "a"}
    plain = {"x_axis": None, "summary": None, "goal": None, "hidden": False, "is_pattern": False}
    assert of_a["note"] == plain | {"types": ["string"], "count": 1}
    assert of_a["loss"] == plain | {
        "types": ["number"],
        "count": 1,
        "x_axis": "epoch",
        "summary": ["min", "last"],
        "goal": "minimize",
    }
    assert of_a["val/acc"] == plain | {
        "types": ["number"],
        "count": 1,
        "x_axis": "epoch",
        "hidden": True,
    }
    assert of_a["val/*"]["is_pattern"]
    assert {row["key"] for row in pq.read_table(out / "metrics").to_pylist()} >= {"loss", "epoch"}


async def test_metrics_cost_no_request_and_change_with_the_config(
    with_metrics: Project, runs: Runs, out: Path
) -> None:
    first = await runs.export(out, what=["metrics"], format="jsonl")
    assert first.requests == 1
    before = (out / "metrics.jsonl").read_bytes()
    await runs.export(out, what=["metrics"], format="jsonl")
    assert (out / "metrics.jsonl").read_bytes() == before
    with_metrics.define_metrics("b", [{"1": "loss", "7": [2]}])
    await runs.export(out, what=["metrics"], format="jsonl")
    lines = map(json.loads, (out / "metrics.jsonl").read_text().splitlines())
    assert [row["summary"] for row in lines if row["run_id"] == "b" and row["key"] == "loss"] == [
        ["max"]
    ]


async def test_a_broken_definition_is_left_out(project: Project, runs: Runs, out: Path) -> None:
    project.log("a", steps(0, 1))
    project.define_metrics(
        "a", ["odd", {"1": 5, "5": "x", "7": "min"}, {"2": None}, {"1": "\ud800", "4": "\udfff"}]
    )
    result = await runs.export(out, what=["metrics"])
    assert not result.failed
    assert "loss" in pq.read_table(out / "metrics").column("key").to_pylist()


async def test_a_sweep_is_a_row_with_its_best_run(
    project: Project, runs: Runs, out: Path, subtests: pytest.Subtests
) -> None:
    sweep = project.make_sweep(
        "method: random\nname: try\nmetric: {name: loss, goal: minimize}\n"
        "parameters: {lr: {value: 1}}"
    )
    for name, loss in (("a", 3.0), ("b", 1.0), ("c", 2.0)):
        project.log(name, [{"_step": 0, "loss": loss}])
        project.summarize(name, {"loss": loss})
        project.join_sweep(name, sweep)
    formats: tuple[Format, ...] = ("parquet", "csv", "jsonl", "arrow", "delta")
    for form in formats:
        with subtests.test(form):
            result = await runs.export(out / form, what=["sweeps"], format=form)
            assert result.requests == 3  # the runs, the sweeps, the best runs
    (row,) = pq.read_table(out / "parquet/sweeps.parquet").to_pylist()
    assert (row["sweep"], row["name"], row["method"]) == (sweep, "try", "random")
    assert (row["metric"], row["goal"], row["best_run"]) == ("loss", "minimize", "b")
    assert row["run_count"] == 3
    assert "parameters" in row["config"]
    assert json.loads((out / "jsonl/sweeps.jsonl").read_text())["best_run"] == "b"


async def test_overwriting_removes_the_tables(with_metrics: Project, runs: Runs, out: Path) -> None:
    await runs.export(out, what=["metrics", "sweeps"])
    await runs.export(out, what=["runs"], overwrite=True)
    assert sorted(path.name for path in out.iterdir()) == [".aiowandb-export", "runs.parquet"]


async def test_sweeps_that_were_deleted_are_kept(project: Project, runs: Runs, out: Path) -> None:
    project.log("a", steps(0, 1))
    first, second = (project.make_sweep("method: random") for _ in range(2))
    formats: tuple[Format, ...] = ("parquet", "jsonl")
    for form in formats:
        await runs.export(out / form, what=["sweeps"], format=form)
    project.delete_sweep(first)
    for form in formats:
        await runs.export(out / form, what=["sweeps"], format=form)
    table = pq.read_table(out / "parquet/sweeps.parquet")
    found = dict(zip(table["sweep"].to_pylist(), table["deleted"].to_pylist(), strict=True))
    assert found == {first: True, second: False}
    assert len((out / "jsonl/sweeps.jsonl").read_text().splitlines()) == 2
    await runs.export(out / "parquet", what=["sweeps"], on_deleted="drop")
    assert pq.read_table(out / "parquet/sweeps.parquet")["sweep"].to_pylist() == [second]
