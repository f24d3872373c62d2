"""Failures: of single runs, of W&B, of the disk, of the folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aiowandb import AsyncApi, CommError, ConnectError, ExportError
from aiowandb.api.runs import Runs
from aiowandb.export.folders.local import LocalFolder
from tests.export.conftest import Project, Server, contents, places, steps

pytestmark = pytest.mark.anyio


async def test_a_run_that_fails_is_named_and_the_others_are_there(
    project: Project, runs: Runs, server: Server, out: Path
) -> None:
    for name in "abc":
        project.log(name, steps(0, 10), finish=False)
    server.poisoned = {"b"}
    result = await runs.export(out)
    assert [failure.run for failure in result.failed] == ["b"]
    assert "the run is poisoned" in str(result.failed[0].error)
    assert {run for run, _ in places(out)} == {"a", "c"}


async def test_the_next_export_tries_just_the_runs_that_failed(
    project: Project, runs: Runs, server: Server, out: Path, tmp_path: Path
) -> None:
    for name in "abc":
        project.log(name, steps(0, 10), finish=False)
    server.poisoned = {"b"}
    await runs.export(out)
    server.poisoned = set()
    result = await runs.export(out)
    assert (result.failed, result.requests) == ((), 3)  # the list, one plan, one page
    await runs.export(tmp_path / "fresh")
    assert contents(out) == contents(tmp_path / "fresh")


async def test_a_run_that_fails_once_is_tried_again_at_the_end(
    project: Project, runs: Runs, server: Server, out: Path
) -> None:
    for name in "abc":
        project.log(name, steps(0, 10), finish=False)
    server.poisoned, server.failures = {"b"}, 2  # with the others, then alone
    result = await runs.export(out)
    assert result.failed == ()
    assert {run for run, _ in places(out)} == {"a", "b", "c"}


async def test_a_run_that_fails_half_way_leaves_no_rows(
    project: Project, runs: Runs, server: Server, out: Path
) -> None:
    for name, rows in (("a", 10), ("b", 3000), ("c", 10)):
        project.log(name, steps(0, rows), finish=False)
    server.poisoned, server.healthy_pages = {"b"}, 1
    result = await runs.export(out)
    assert [failure.run for failure in result.failed] == ["b"]
    assert places(out) == [("a", i) for i in range(10)] + [("c", i) for i in range(10)]


async def test_existing_rows_of_a_run_are_kept_if_its_new_steps_fail(
    project: Project, runs: Runs, server: Server, out: Path
) -> None:
    project.log("a", steps(0, 10), finish=False)
    await runs.export(out)
    project.log("a", steps(10, 20), finish=False)
    server.poisoned = {"a"}
    result = await runs.export(out)
    assert [failure.run for failure in result.failed] == ["a"]
    assert places(out) == [("a", i) for i in range(10)]
    server.poisoned = set()
    await runs.export(out)
    assert places(out) == [("a", i) for i in range(20)]


async def test_finished_parts_stay_when_the_server_goes(
    small_parts: None, project: Project, runs: Runs, server: Server, out: Path
) -> None:
    for number in range(60):  # more than are read ahead
        project.log(f"run-{number}", steps(0, 120))
    server.is_gone = (out / "history" / "part-00000.parquet").exists
    with pytest.raises(ConnectError):
        await runs.export(out)
    finished = contents(out)
    server.is_gone = lambda: False
    result = await runs.export(out)
    assert result.rows == 60 * 120
    assert finished.items() <= contents(out).items()


async def test_a_full_disk_is_reported_and_finished_runs_are_kept(
    small_parts: None, project: Project, runs: Runs, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "ab":
        project.log(name, steps(0, 200))
    open_stream = pa.output_stream

    def full_for_the_second(path: str, **settings: Any) -> pa.NativeFile:
        return open_stream("/dev/full" if "history-1" in path else path, **settings)

    with monkeypatch.context() as patch:
        patch.setattr("pyarrow.output_stream", full_for_the_second)
        with pytest.raises(ExportError, match="Cannot write .*: No space left on device"):
            await runs.export(out)
    finished = contents(out)
    assert finished.keys() == {"history/part-00000.parquet"}
    await runs.export(out)
    assert finished.items() <= contents(out).items()
    assert len(places(out)) == 400


async def test_a_folder_in_use_names_the_process_that_uses_it(
    project: Project, runs: Runs, out: Path
) -> None:
    with (
        LocalFolder(out).lock(),
        pytest.raises(ExportError, match=f"by process {os.getpid()} on .* since 20"),
    ):
        await runs.export(out)
    await runs.export(out)


async def test_another_export_into_an_old_folder_is_refused_with_the_differences(
    project: Project, runs: Runs, out: Path
) -> None:
    project.log("a", steps(0, 10))
    await runs.export(out)
    before = contents(out)
    with pytest.raises(ExportError, match="format 'parquet' there, 'csv' here"):
        await runs.export(out, format="csv")
    assert contents(out) == before
    await runs.export(out, format="csv", overwrite=True)
    assert contents(out).keys() == {"runs.csv", "history.csv"}


@pytest.mark.parametrize("overwrite", [False, True])
async def test_an_export_whose_runs_cannot_be_listed_changes_nothing(
    api: AsyncApi, project: Project, runs: Runs, out: Path, overwrite: bool
) -> None:
    project.log("a", steps(0, 10))
    if overwrite:
        await runs.export(out, format="csv")
    before = contents(out)
    with pytest.raises(CommError, match="runs have no field 'up'"):
        await api.runs(project.path, order="up").export(out, overwrite=overwrite)
    assert contents(out) == before
    await runs.export(out, format="csv")  # as if nothing had happened
    assert contents(out).keys() == {"runs.csv", "history.csv"}


async def test_pages_of_runs_that_are_too_much_for_the_server_become_smaller(
    project: Project, runs: Runs, server: Server, out: Path
) -> None:
    for number in range(60):
        project.log(f"run-{number}", steps(0, 1), finish=False)
    server.longest_page = 130
    assert (await runs.export(out)).runs == 60
    assert server.pages_asked == [500, 250, 125]


async def test_files_that_are_not_from_an_export_are_not_overwritten(
    project: Project, runs: Runs, out: Path
) -> None:
    mine = out / "history" / "mine.parquet"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"precious")
    with pytest.raises(ExportError, match=r"has history/mine\.parquet"):
        await runs.export(out)
    assert mine.read_bytes() == b"precious"


async def test_a_journal_that_is_damaged_is_not_guessed_at(
    project: Project, runs: Runs, out: Path
) -> None:
    await runs.export(out)
    journal = out / ".aiowandb-export" / "journal.jsonl"
    journal.write_bytes(journal.read_bytes().replace(b"committed", b"comitted"))
    with pytest.raises(ExportError, match=r"journal\.jsonl cannot be read \(line 3"):
        await runs.export(out)
    await runs.export(out, overwrite=True)


@pytest.mark.parametrize("field", ["config", "summary"])
async def test_a_run_whose_config_or_summary_is_no_json_fails_alone(
    project: Project, runs: Runs, out: Path, field: Literal["config", "summary"]
) -> None:
    for name in "abc":
        project.log(name, steps(0, 10))
        project.configure(name, {"lr": 0.1})
        project.summarize(name, {"best": 1})
    project.damage("b", field)
    assert (await runs.plan_export(out)).rows == 30
    for _ in range(2):
        result = await runs.export(out)
        assert [failure.run for failure in result.failed] == ["b"]
        assert f"Run b, {field}: W&B sent JSON that cannot be decoded" in str(
            result.failed[0].error
        )
    assert {run for run, _ in places(out)} == set("abc")
    rows = pq.read_table(out / "runs.parquet", columns=["config.lr", "summary.best"]).to_pylist()
    good = {"config.lr": 0.1, "summary.best": 1}
    lacking = "config.lr" if field == "config" else "summary.best"
    assert rows == [good, good | {lacking: None}, good]
    # The text itself is kept.
    originals = pq.read_table(out / ".aiowandb-export" / "originals")
    assert originals[field].to_pylist()[1] == '{"a": '
