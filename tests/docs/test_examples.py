"""Every example runs as its docstring says, against an embedded W&B on a port."""

from __future__ import annotations

import gc
import io
import os
import runpy
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

import pyarrow.parquet as pq
import pytest

from aiowandb import Api
from aiowandb_server import RunChanges, Store
from aiowandb_server.store.sweeps import SweepChanges
from tests.support.artifacts import log_artifact
from tests.support.sample import ROWS, RUNS, Sample

EXAMPLES = Path(__file__).parents[2] / "examples"
METADATA = b"""{"git": {"remote": "git@host:me/it", "commit": "c0ffee"},
               "program": "train.py", "args": ["--lr", "1"]}"""
PNG = b"\x89PNG\r\n"

# These stay what a user starts; each costs some seconds.
AS_A_USER = {"test_export_project", "test_asyncio_sink", "test_without_await"}
AS_A_USER |= {"test_parts_in_processes"}
# Engines have warnings of their own.
IN_AN_ENGINE = {"test_parts_in_dask", "test_parts_in_ray", "test_parts_in_beam"}
IN_AN_ENGINE |= {"test_append_to_iceberg"}

Example = Callable[..., str]


@pytest.fixture
def example(
    sample: Sample, url: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Example:
    """Runs an example with Python's own checks, which find nothing, and gives what it prints."""
    monkeypatch.setenv("WANDB_BASE_URL", url)
    monkeypatch.setenv("WANDB_API_KEY", sample.key)
    if request.node.name in IN_AN_ENGINE:
        return _run_in_an_engine
    return _run_as_a_user if request.node.name in AS_A_USER else _run_here


def _run_here(name: str, *arguments: str | Path) -> str:
    """In this process, where warnings are errors and what was not closed is one."""
    out, err = io.StringIO(), io.StringIO()
    with (
        patch.dict(os.environ, {"PYTHONASYNCIODEBUG": "1"}),
        patch.object(sys, "argv", [name, *map(str, arguments)]),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    gc.collect()
    assert err.getvalue() == ""
    return out.getvalue()


def _run_in_an_engine(name: str, *arguments: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, *arguments], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _run_as_a_user(name: str, *arguments: str | Path) -> str:
    """In a process of its own, as a user starts it."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", EXAMPLES / name, *arguments],
        capture_output=True,
        text=True,
    )
    # What asyncio says of slow steps is about the machine.
    said = [line for line in done.stderr.splitlines() if not line.startswith("Executing <")]
    assert (done.returncode, said) == (0, [])
    return done.stdout


@pytest.fixture(scope="module")
def run_path(sample: Sample) -> str:
    with Api.local(sample.folder) as api:
        run = next(iter(api.runs(sample.path, filters={"state": "finished"})))
        return "/".join(run.path)


@pytest.fixture(scope="module")
def sweep_path(sample: Sample) -> str:
    """A sweep with two runs, each with files and an artifact, beside the sample project."""
    with Store.open(sample.folder) as store:
        project = store.projects.ensure("local", "search")[0]
        config = "{method: grid, metric: {name: loss}, parameters: {lr: {values: [1, 2]}}}"
        sweep = store.sweeps.create(project, SweepChanges(config=config))
        for name, loss in (("bad", 2), ("good", 1)):
            said = RunChanges(sweep=sweep.name, display_name=name, summary=f'{{"loss": {loss}}}')
            run = store.runs.upsert(project, name, said)[0]
            store.files.add(run, "model.h5", name.encode())
            store.files.add(run, "wandb-metadata.json", METADATA)
            log_artifact(store, run, "weights", {"w.bin": name.encode()}, kind="model")
            store.finish(run)
        return f"local/search/{sweep.name}"


def test_read_one_run(example: Example, run_path: str) -> None:
    assert f"{ROWS} rows, the last one with _step" in example("read_one_run.py", run_path)


def test_metrics_of_a_run(example: Example, run_path: str) -> None:
    out = example("metrics_of_a_run.py", run_path, "train/loss")
    assert "std" in out
    assert f"100 of {ROWS} values; the least of all is 0." in out


def test_filter_runs(example: Example, sample: Sample) -> None:
    first, *lines = example("filter_runs.py", sample.path, "train/loss").splitlines()
    losses = [float(line.split()[-1]) for line in lines]
    assert first == f"{len(lines)} runs"
    assert losses
    assert losses == sorted(losses)


def test_build_filters(example: Example, sample: Sample) -> None:
    out = example("build_filters.py", sample.path, "tuned", "0.0001", "train/loss")
    count, *lines = out.splitlines()
    assert int(count.split()[0]) == len(lines) > 0


def test_runs_to_csv(example: Example, sample: Sample, tmp_path: Path) -> None:
    by_hand, flat = tmp_path / "project.csv", tmp_path / "flat.csv"
    out = example("runs_to_csv.py", sample.path, by_hand, flat)
    assert out.startswith(f"{RUNS} runs, ")
    assert by_hand.read_text().startswith(",summary,config,name\n")
    assert "config.model.depth" in flat.read_text()


def test_batches_of_a_run(example: Example, run_path: str) -> None:
    out = example("batches_of_a_run.py", run_path, "train/loss")
    assert out.startswith(f"mean train/loss over {ROWS} rows: ")


def test_histories_in_duckdb(example: Example, sample: Sample) -> None:
    out = example("histories_in_duckdb.py", sample.path, "train/loss")
    assert out.count(f" {ROWS} ") == RUNS


def test_export_project(example: Example, sample: Sample, tmp_path: Path) -> None:
    out = example("export_project.py", sample.path, tmp_path)
    assert out.startswith(f"{RUNS} runs, {RUNS * ROWS} rows with ")


def test_import_own_runs(example: Example, tmp_path: Path) -> None:
    path = tmp_path / "notes.sqlite"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE loss (run TEXT, step INTEGER, loss REAL)")
        rows = [(f"run{n % 2}", n, 1 / (n + 1)) for n in range(10)]
        database.executemany("INSERT INTO loss VALUES (?, ?, ?)", rows)
    out = example("import_own_runs.py", path, "local/imported-by-an-example")
    assert out.startswith("{'created': 2} {'rows': 10,")
    assert out.rstrip().endswith("[]")


def test_own_sink(example: Example, sample: Sample, tmp_path: Path) -> None:
    path = tmp_path / "wandb.sqlite"
    out = example("own_sink.py", sample.path, path)
    assert out == f"{RUNS * ROWS} rows of {RUNS} runs in {path}\n"
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT count(*) FROM loss").fetchone() == (RUNS * ROWS,)


def test_asyncio_sink(example: Example, sample: Sample, tmp_path: Path) -> None:
    path = tmp_path / "losses.tsv"
    out = example("asyncio_sink.py", sample.path, "train/loss", path)
    assert out == f"{RUNS * ROWS} rows in {path}\n"
    rows = [line.split("\t") for line in path.read_text().splitlines()]
    assert len({run for run, _, _ in rows}) == RUNS
    assert len(rows) == RUNS * ROWS


def test_without_await(example: Example, sample: Sample) -> None:
    assert example("without_await.py", sample.path).count("5 sampled rows") == RUNS


def test_plot_with_matplotlib(example: Example, run_path: str, tmp_path: Path) -> None:
    picture = tmp_path / "loss.png"
    out = example("plot_with_matplotlib.py", run_path, "train/loss", picture)
    assert out == f"{ROWS} points in {picture}\n"
    assert picture.read_bytes().startswith(PNG)


def test_plot_with_seaborn(example: Example, sample: Sample, tmp_path: Path) -> None:
    picture = tmp_path / "losses.png"
    out = example("plot_with_seaborn.py", sample.path, "train/loss", picture)
    assert out == f"{RUNS} runs in {picture}\n"
    assert picture.read_bytes().startswith(PNG)


def test_best_run_of_a_sweep(example: Example, sweep_path: str, tmp_path: Path) -> None:
    out = example("best_run_of_a_sweep.py", sweep_path, "model.h5", tmp_path)
    assert out.startswith("good is the best of 2 by +summary_metrics.loss\n")
    assert (tmp_path / "model.h5").read_text() == "good"


def test_download_files(example: Example, sweep_path: str, tmp_path: Path) -> None:
    out = example("download_files.py", "local/search/good", "%.h5", tmp_path)
    assert out == f"{tmp_path / 'model.h5'}\n"


def test_download_artifact(example: Example, sweep_path: str, tmp_path: Path) -> None:
    assert example("download_artifact.py", "search/weights:v0", tmp_path).splitlines() == [
        "local/search/weights:v0 model 3 bytes",
        "made by bad",
        "1 files, 1 of them fetched now",
    ]
    assert (tmp_path / "w.bin").read_text() == "bad"


def test_git_commit(example: Example, sweep_path: str) -> None:
    out = example("git_commit.py", "search/good")
    assert out == "git clone git@host:me/it\ngit checkout c0ffee\npython train.py --lr 1\n"


def test_change_a_run(example: Example, sweep_path: str) -> None:
    out = example("change_a_run.py", "search/bad", "loss", "final_loss")
    assert out == "['published'] True {'final_loss': 2} False\n"


def test_append_rows(example: Example, sweep_path: str) -> None:
    assert example("append_rows.py", "search/good") == "finished 0.75 [0, 1, 2]\n"


@pytest.mark.slow
def test_parts_in_processes(example: Example, sample: Sample) -> None:
    out = example("parts_in_processes.py", sample.path, "train/loss")
    assert out.startswith(f"{RUNS * ROWS} rows in {RUNS} parts, mean train/loss ")


def test_lake_of_parquet(example: Example, sample: Sample, tmp_path: Path) -> None:
    out = example("lake_of_parquet.py", sample.path, tmp_path / "lake")
    assert out == f"{RUNS * ROWS} new rows of {RUNS} runs\n"
    assert pq.read_table(tmp_path / "lake" / "history").num_rows == RUNS * ROWS
    assert example("lake_of_parquet.py", sample.path, tmp_path / "lake") == (
        f"0 new rows of {RUNS} runs\n"
    )
    assert pq.read_table(tmp_path / "lake" / "history").num_rows == RUNS * ROWS


def test_merge_into_delta(example: Example, sample: Sample, tmp_path: Path) -> None:
    for _ in range(2):
        out = example("merge_into_delta.py", sample.path, tmp_path / "table", "train/loss")
        assert out == f"{RUNS * ROWS} rows in {tmp_path / 'table'}\n"


@pytest.mark.engines
def test_parts_in_dask(example: Example, sample: Sample) -> None:
    assert len(example("parts_in_dask.py", sample.path, "train/loss").splitlines()) == RUNS + 1


@pytest.mark.engines
def test_parts_in_ray(example: Example, sample: Sample) -> None:
    assert f"{RUNS} runs" in example("parts_in_ray.py", sample.path, "train/loss")


@pytest.mark.engines
def test_parts_in_beam(example: Example, sample: Sample) -> None:
    assert len(example("parts_in_beam.py", sample.path, "train/loss").splitlines()) == RUNS


@pytest.mark.engines
def test_append_to_iceberg(example: Example, sample: Sample, tmp_path: Path) -> None:
    for new in (RUNS * ROWS, 0):
        out = example("append_to_iceberg.py", sample.path, tmp_path / "lake", "train/loss")
        assert out == f"{new} new rows, {RUNS * ROWS} in all\n"


def test_no_example_is_left_out() -> None:
    tested = {name.removeprefix("test_") + ".py" for name in globals() if name.startswith("test_")}
    assert {path.name for path in EXAMPLES.glob("*.py")} <= tested
