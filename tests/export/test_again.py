"""A folder is exported into again: only what is new is asked for, and what is gone goes."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from aiowandb import AsyncApi
from aiowandb.api.runs import Runs

from .conftest import Project, contents, history, places, steps

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


async def test_only_new_runs_are_asked_for(project: Project, runs: Runs, out: Path) -> None:
    project.log("old", steps(0, 10))
    await runs.export(out)
    project.log("new", steps(0, 5))
    again = await runs.export(out)
    assert (again.requests, again.downloads) == (2, 1)  # the list and one plan; one segment
    assert places(out) == [("old", i) for i in range(10)] + [("new", i) for i in range(5)]


async def test_only_new_steps_of_a_run_are_asked_for(
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
    await runs.export(out)
    project.log("a", steps(30, 40))
    project.log("d", steps(0, 10, accuracy=0.5))
    project.delete("b")
    await runs.export(out)
    await runs.export(tmp_path / "fresh")
    assert contents(out) == contents(tmp_path / "fresh")


async def test_a_deleted_run_leaves(project: Project, runs: Runs, out: Path) -> None:
    project.log("stays", steps(0, 10))
    project.log("goes", steps(0, 10))
    await runs.export(out)
    project.delete("goes")
    again = await runs.export(out)
    assert again.requests == 1
    assert places(out) == [("stays", i) for i in range(10)]


async def test_a_run_that_was_rewound_is_read_anew(project: Project, runs: Runs, out: Path) -> None:
    project.log("a", steps(0, 10), finish=False)
    await runs.export(out)
    project.rewind("a", 4)
    await runs.export(out)
    assert places(out) == [("a", i) for i in range(5)]


async def test_a_run_that_was_rewound_and_went_further_is_read_anew(
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


async def test_a_csv_is_written_anew_only_if_something_changed(
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
