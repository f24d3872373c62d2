"""Exporting into a folder again requests only what is new, and removes what was deleted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from aiowandb import AsyncApi, CommError
from aiowandb.api.runs import Runs
from aiowandb.export import Format, Split
from tests.export.conftest import Project, Server, contents, history, places, steps

pytestmark = pytest.mark.anyio


async def test_nothing_new_costs_a_listing_and_changes_nothing(
    project: Project, runs: Runs, out: Path
) -> None:
    for name in "abc":
        project.log(name, steps(0, 10))
    await runs.export(out)
    before = contents(out)
    again = await runs.export(out)
    assert (again.requests, again.downloads) == (1, 0)
    assert (again.runs, again.rows) == (3, 30)
    assert contents(out) == before


@pytest.mark.slow
async def test_a_thousand_unchanged_runs_cost_at_most_three_requests(
    project: Project, runs: Runs, out: Path
) -> None:
    for number in range(1000):
        project.log(f"run-{number}", steps(0, 1), finish=False)
    await runs.export(out)
    assert (await runs.export(out)).requests <= 3


async def test_only_new_runs_are_requested(project: Project, runs: Runs, out: Path) -> None:
    project.log("old", steps(0, 10))
    await runs.export(out)
    project.log("new", steps(0, 5))
    again = await runs.export(out)
    assert (again.requests, again.downloads) == (2, 1)  # the list and one plan; one segment
    assert places(out) == [("old", i) for i in range(10)] + [("new", i) for i in range(5)]


async def test_only_new_steps_of_a_run_are_requested(
    project: Project, runs: Runs, out: Path
) -> None:
    project.log("live", steps(0, 2500), finish=False)
    await runs.export(out)
    project.log("live", steps(2500, 2600), finish=False)
    again = await runs.export(out)
    assert again.requests == 3  # the list, the plan, one page: not three
    assert places(out) == [("live", i) for i in range(2600)]


async def test_the_result_is_that_of_an_export_into_an_empty_folder(
    project: Project, runs: Runs, out: Path, tmp_path: Path
) -> None:
    project.log("a", steps(0, 30), finish=False)
    project.log("b", steps(0, 10))
    project.log("c", steps(0, 10))
    await runs.export(out, on_deleted="drop")
    project.log("a", steps(30, 40))
    project.log("d", steps(0, 10, accuracy=0.5))
    project.delete("b")
    await runs.export(out, on_deleted="drop")
    await runs.export(tmp_path / "fresh", on_deleted="drop")
    assert contents(out) == contents(tmp_path / "fresh")


@pytest.mark.parametrize("format", ["parquet", "csv", "delta"])
@pytest.mark.parametrize("split", [None, pytest.param("run", marks=pytest.mark.slow)])
async def test_a_run_that_was_deleted_at_wandb_stays_and_is_marked(
    project: Project, runs: Runs, out: Path, format: Format, split: Split | None
) -> None:
    if format == "delta" and split:
        pytest.skip("a Delta table is one table")
    project.log("stays", steps(0, 10))
    project.log("goes", steps(0, 10))
    project.configure("goes", {"lr": 0.5, "nested": {"a": [1]}})
    await runs.export(out, format=format, split=split)
    project.delete("goes")
    for rows in (20, 25):
        again = await runs.export(out, format=format, split=split)
        assert (again.deleted, again.rows) == (("goes",), rows)
        table = runs_in(out, format).set_index("run_id")
        assert not table.loc["stays", "deleted"]
        assert table.loc["goes", ["deleted", "config.lr"]].to_list() == [True, 0.5]
        project.log("new", steps(0, 5))  # small parts are laid out again
    project.log("goes", steps(0, 3))  # made once more under its name
    again = await runs.export(out, format=format, split=split)
    assert again.deleted == ()
    assert not runs_in(out, format)["deleted"].any()


def runs_in(folder: Path, format: Format) -> Any:
    """The table of runs as pandas reads it."""
    if format == "csv":
        table = pd.read_csv(folder / "runs.csv")
    elif format == "delta":
        table = DeltaTable(folder / "runs").to_pandas()
    else:
        table = pd.read_parquet(folder / "runs.parquet")
    return table


async def test_deleted_runs_are_asked_about_once(project: Project, runs: Runs, out: Path) -> None:
    for name in "abc":
        project.log(name, steps(0, 10))
    await runs.export(out)
    project.delete("a")
    assert (await runs.export(out)).requests == 2  # the list, and whether it is deleted
    assert (await runs.export(out)).requests == 1
    assert len(places(out)) == 30


async def test_a_run_of_which_wandb_does_not_say_whether_it_is_deleted_is_not_forgotten(
    project: Project, runs: Runs, server: Server, out: Path
) -> None:
    for name in "ab":
        project.log(name, steps(0, 10))
    await runs.export(out)
    project.delete("a")
    server.broken = {"StorageIds"}
    with pytest.raises(CommError, match="it is broken"):
        await runs.export(out)
    assert len(places(out)) == 20
    server.broken = set()
    assert (await runs.export(out)).deleted == ("a",)
    assert len(places(out)) == 20


async def test_a_run_that_is_not_selected_any_more_leaves(
    api: AsyncApi, project: Project, out: Path
) -> None:
    for name in "ab":
        project.log(name, steps(0, 10))
    runs = api.runs(project.path, {"tags": {"$ne": "old"}}, order="+created_at")
    await runs.export(out)
    run = await api.run(f"{project.path}/a")
    run.tags.append("old")
    await run.update()
    assert (await runs.export(out)).deleted == ()
    assert places(out) == [("b", i) for i in range(10)]


async def test_a_deleted_run_leaves_where_that_is_wanted(
    project: Project, runs: Runs, out: Path
) -> None:
    project.log("stays", steps(0, 10))
    project.log("goes", steps(0, 10))
    await runs.export(out)
    project.delete("goes")
    again = await runs.export(out, on_deleted="drop")
    assert again.requests == 1
    assert places(out) == [("stays", i) for i in range(10)]


REWOUND: list[dict[str, Any]] = [
    {},
    {"keys": ["loss"]},
    {"format": "csv"},
    {"layout": "long"},
    {"split": "run"},
    {"format": "jsonl", "exclude": ["_timestamp"]},
    {"format": "delta"},
]


@pytest.mark.parametrize("options", REWOUND, ids=str)
@pytest.mark.parametrize("end", [100, pytest.param(130, marks=pytest.mark.slow)])
@pytest.mark.parametrize("finish", [True, pytest.param(False, marks=pytest.mark.slow)])
async def test_a_run_that_was_rewound_is_read_again_in_every_layout(
    project: Project,
    runs: Runs,
    out: Path,
    tmp_path: Path,
    options: dict[str, Any],
    end: int,
    finish: bool,
) -> None:
    project.post("a", 0, steps(0, 100), finish=finish)
    await runs.export(out, **options)
    project.rewind("a", 50)
    again = [{**row, "_timestamp": row["_timestamp"] + 1e6, "loss": 9.0} for row in steps(51, end)]
    project.post("a", 51, again, finish=finish)
    result = await runs.export(out, **options)
    fresh = await runs.export(tmp_path / "fresh", **options)
    assert result.rows == fresh.rows
    if options.get("format") == "delta":
        assert loss(out) == loss(tmp_path / "fresh")
    else:
        assert contents(out) == contents(tmp_path / "fresh")


def loss(folder: Path) -> list[float]:
    return list(DeltaTable(folder / "history").to_pandas()["loss"])


async def test_a_run_that_was_rewound_is_read_again(
    project: Project, runs: Runs, out: Path
) -> None:
    project.log("a", steps(0, 10), finish=False)
    await runs.export(out)
    project.rewind("a", 4)
    await runs.export(out)
    assert places(out) == [("a", i) for i in range(5)]


async def test_a_run_that_was_rewound_and_logged_more_is_read_again(
    project: Project, runs: Runs, out: Path
) -> None:
    project.log("a", steps(0, 10), finish=False)
    await runs.export(out)
    project.rewind("a", 4)
    late = [{**row, "_timestamp": 1_760_000_000.0, "loss": 9.0} for row in steps(5, 15)]
    project.log("a", late, finish=False)
    await runs.export(out)
    assert places(out) == [("a", i) for i in range(15)]
    assert history(out)["loss"].to_pylist()[5:] == [9.0] * 10


async def test_full_parts_stay_as_they_are_and_small_ones_are_merged(
    small_parts: None, project: Project, runs: Runs, out: Path
) -> None:
    project.log("full", steps(0, 120))
    project.log("a", steps(0, 20))
    await runs.export(out)
    full = out / "history" / "part-00000.parquet"
    written = full.stat().st_mtime_ns
    for name in "bc":
        project.log(name, steps(0, 10))
        await runs.export(out)
    assert full.stat().st_mtime_ns == written
    assert len(list((out / "history").iterdir())) == 2
    assert [run for run, _ in places(out)] == (
        ["full"] * 120 + ["a"] * 20 + ["b"] * 10 + ["c"] * 10
    )


async def test_new_columns_come_into_every_part(
    small_parts: None, project: Project, runs: Runs, out: Path
) -> None:
    for name in "ab":
        project.log(name, steps(0, 120))
    await runs.export(out)
    project.log("c", steps(0, 10, note="slow"))
    await runs.export(out)
    schemas = [pq.read_schema(path) for path in sorted((out / "history").iterdir())]
    assert len(schemas) == 3
    assert all(schema.equals(schemas[0], check_metadata=True) for schema in schemas)
    assert history(out)["note"].to_pylist() == [None] * 240 + ["slow"] * 10


async def test_a_part_that_was_lost_is_read_again(
    small_parts: None, project: Project, runs: Runs, out: Path
) -> None:
    for name in "ab":
        project.log(name, steps(0, 120))
    await runs.export(out)
    before = contents(out)
    (out / "history" / "part-00000.parquet").unlink()
    again = await runs.export(out)
    assert again.downloads == 1
    assert contents(out) == before


async def test_a_csv_is_rewritten_only_if_something_changed(
    project: Project, runs: Runs, out: Path
) -> None:
    project.log("a", steps(0, 10))
    await runs.export(out, format="csv")
    written = (out / "history.csv").stat().st_mtime_ns
    await runs.export(out, format="csv")
    assert (out / "history.csv").stat().st_mtime_ns == written
    project.log("b", steps(0, 10))
    await runs.export(out, format="csv")
    assert len((out / "history.csv").read_text().splitlines()) == 21


async def test_the_live_run_of_a_project_is_followed_from_export_to_export(
    api: AsyncApi, project: Project, runs: Runs, out: Path
) -> None:
    for end in range(1, 8):
        project.log("live", steps(end - 1, end), finish=end == 7)
        await runs.export(out)
        assert places(out) == [("live", i) for i in range(end)]
