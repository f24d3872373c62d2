"""The table of runs says what the export has of each run; `all` is everything."""

from __future__ import annotations

import json
from itertools import chain, repeat
from pathlib import Path
from typing import Any, get_args

import pyarrow.parquet as pq
import pytest

from aiowandb import AiowandbWarning, AsyncApi, CommError, verify
from aiowandb.api.runs import Runs
from aiowandb.choices import EVERYTHING, What
from aiowandb.export.manifest import MANIFEST
from tests.export.conftest import Project, Server, steps
from tests.export.test_tables import log_table, table

pytestmark = pytest.mark.anyio


def whole(folder: Path, *kinds: What) -> dict[str, tuple[Any, ...]]:
    """What the table of runs says of these kinds."""
    rows = pq.read_table(folder / "runs.parquet").to_pylist()
    return {row["run_id"]: tuple(row[f"exported.{kind}"] for kind in kinds) for row in rows}


@pytest.fixture
def filled(project: Project) -> Project:
    """Two runs with something of every kind, one of which is still running."""
    for name in ("done", "live"):
        project.log(name, steps(0, 20, hist={"_type": "histogram", "values": [1], "bins": [0, 1]}))
        log_table(project, name, 20, "t", table(["x"], [1]))
        project.log_system(name, [{"_timestamp": 1.0 + i, "system.cpu": 5.0} for i in range(4)])
        project.write_lines(name, ["one", "two"])
        project.store.files.add(project.run(name), "output.log", b"one\ntwo\n")
    project.log("live", steps(21, 22), finish=False)
    project.resume("live")
    project.make_sweep("method: grid\nparameters: {lr: {values: [1]}}")
    project.add_report("About it", '{"blocks": [1]}')
    return project


async def test_all_is_everything(filled: Project, runs: Runs, out: Path) -> None:
    result = await runs.export(out, what="all")
    assert not result.failed
    assert {path.name for path in out.iterdir() if path.name[0] != "."} == {
        *("runs.parquet", "sweeps.parquet", "history", "system", "logs", "metrics", "media"),
        *("histograms", "tables", "reports", "files"),
    }
    again = await runs.export(out, what="all")
    assert again.downloads == 0
    assert set(EVERYTHING) | {"all"} == set(get_args(What))


async def test_a_run_is_complete_or_live(filled: Project, runs: Runs, out: Path) -> None:
    kinds: tuple[What, ...] = ("history", "system", "logs", "metrics", "tables", "files")
    await runs.export(out, what=["runs", *kinds])
    # The index of media comes with the tables.
    found = whole(out, *kinds, "media", "artifacts", "histograms")
    assert found["done"] == (*["complete"] * len(kinds), "complete", "left out", "left out")
    assert found["live"] == (*["live"] * len(kinds), "live", "left out", "left out")


async def test_samples_and_selections_are_not_complete(
    filled: Project, runs: Runs, out: Path
) -> None:
    await runs.export(out / "sampled", samples=5)
    assert whole(out / "sampled", "history")["done"] == ("sampled",)
    await runs.export(out / "more", samples=500)
    assert whole(out / "more", "history")["done"] == ("complete",)
    await runs.export(out / "some", keys=["loss"])
    assert whole(out / "some", "history")["done"] == ("selected",)


async def test_failed_runs_are_marked_until_they_succeed(
    filled: Project, runs: Runs, server: Server, out: Path
) -> None:
    server.poisoned = {"live"}
    first = await runs.export(out)
    assert [failure.run for failure in first.failed] == ["live"]
    assert whole(out, "history") == {"done": ("complete",), "live": ("failed",)}
    server.poisoned = set()
    await runs.export(out)
    assert whole(out, "history")["live"] == ("live",)


async def test_without_a_table_of_runs_an_export_is_incomplete_until_all_runs_succeed(
    filled: Project, runs: Runs, server: Server, out: Path
) -> None:
    server.poisoned = {"live"}
    await runs.export(out, what=["history"])
    found = await verify(out, offline=True)
    assert not found.is_complete
    assert {run.run: run.short for run in found.runs} == {
        "done": (),
        "live": ("history: the export could not read all of it.",),
    }
    assert first_line(out)["failed"] == 1
    server.poisoned = set()
    await runs.export(out, what=["history"])
    assert (await verify(out, offline=True)).is_complete
    assert first_line(out)["failed"] == 0


def first_line(folder: Path) -> Any:
    return json.loads((folder / MANIFEST).read_text().splitlines()[0])


async def test_what_failed_of_a_run_that_was_then_deleted_is_missing_forever(
    filled: Project, runs: Runs, server: Server, out: Path
) -> None:
    await runs.export(out, what=["history"])
    filled.log("live", steps(22, 30), finish=False)
    server.poisoned = {"live"}
    assert (await runs.export(out, what=["history"])).failed
    filled.delete("live")
    result = await runs.export(out, what=["history"])
    assert (result.failed, result.deleted) == ((), ("live",))
    assert not (await verify(out, offline=True)).is_complete


async def test_tables_of_which_the_index_is_incomplete_are_incomplete(
    filled: Project, runs: Runs, server: Server, out: Path
) -> None:
    server.poisoned = {"live"}
    result = await runs.export(out, what=["runs", "tables"])
    assert [failure.run for failure in result.failed] == ["live"]
    assert whole(out, "media", "tables")["live"] == ("failed", "failed")


async def test_an_export_that_has_not_ended_is_incomplete(
    filled: Project, runs: Runs, server: Server, out: Path
) -> None:
    answers = chain([False], repeat(True))
    server.is_gone = lambda: next(answers)
    with pytest.raises(CommError):
        await runs.export(out, what=["history"])
    found = await verify(out, offline=True)
    assert "the export has not ended" in found.problems[0].what


async def test_system_metrics_that_are_capped_are_a_sample(
    filled: Project, api: AsyncApi, server: Server, out: Path
) -> None:
    server.most_events = 3
    runs = api.runs(filled.path, order="+created_at")
    with pytest.warns(AiowandbWarning, match="only a sample of the system metrics of 2 runs"):
        await runs.export(out, what=["runs", "system"])
    assert whole(out, "system") == {"done": ("sampled",), "live": ("sampled",)}


async def test_deleted_runs_keep_what_was_said_of_them(
    filled: Project, runs: Runs, out: Path
) -> None:
    await runs.export(out)
    filled.delete("done")
    await runs.export(out)
    assert whole(out, "history", "logs")["done"] == ("complete", "left out")


async def test_the_table_of_runs_has_what_else_is_known(
    filled: Project, runs: Runs, out: Path
) -> None:
    own = {"cli_version": "0.31.0", "e": {"w": {"host": "box", "gpu_nvidia": [{"name": "A100"}]}}}
    filled.set_config("done", {"lr": {"value": 0.1}, "_wandb": {"value": own}})
    await runs.export(out)
    done = pq.read_table(out / "runs.parquet").to_pylist()[0]
    assert (done["history_rows"], done["system_rows"], done["log_lines"]) == (21, 4, 2)
    assert (done["last_step"], done["file_count"], done["config.lr"]) == (20, 2, 0.1)
    assert (done["wandb.cli_version"], done["wandb.host"]) == ("0.31.0", "box")
    assert json.loads(done["wandb.gpu_nvidia"]) == [{"name": "A100"}]
    assert done["system.cpu"] == 5.0


async def test_reports_are_json_and_stay(filled: Project, runs: Runs, out: Path) -> None:
    await runs.export(out, what=["reports"])
    (file,) = (out / "reports").iterdir()
    report = json.loads(file.read_text())
    assert (report["display_name"], report["spec"]) == ("About it", {"blocks": [1]})
    written = file.stat().st_mtime_ns
    filled.add_report("Not JSON", "{")
    filled.add_report("Odd", '{"text": "\\ud800", "number": 1' + "0" * 40 + "}")
    await runs.export(out, what=["reports"])
    assert file.stat().st_mtime_ns == written
    specs = [json.loads(each.read_text())["spec"] for each in (out / "reports").iterdir()]
    assert len(specs) == 3
    assert "{" in specs
    await runs.export(out, what=["runs"], overwrite=True)
    assert not list((out / "reports").glob("*.json"))


async def test_an_export_of_everything_can_be_restored(
    filled: Project, api: AsyncApi, runs: Runs, out: Path
) -> None:
    await runs.export(out, what="all")
    report = await api.restore(out, "local/again")
    assert not report.failed
    again = api.runs("local/again")
    assert await again.count() == 2
    lines = [line.content async for line in (await api.run("local/again/done")).console_logs()]
    assert lines == ["one", "two"]
