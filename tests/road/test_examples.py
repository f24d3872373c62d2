"""Every example runs as its docstring says, against an embedded W&B on a port."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from aiowandb import Api
from aiowandb.local import RunChanges, Store
from aiowandb.local.store.sweeps import SweepChanges

from .artifacts import log_artifact
from .conftest import ROWS, RUNS, Sample

METADATA = b"""{"git": {"remote": "git@host:me/it", "commit": "c0ffee"},
               "program": "train.py", "args": ["--lr", "1"]}"""

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def run_path(sample: Sample) -> str:
    with Api.local(sample.folder) as api:
        run = next(iter(api.runs(sample.path, filters={"state": "finished"})))
        return "/".join(run.path)


def example(name: str, *arguments: str | Path, url: str, key: str) -> str:
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, *arguments],
        capture_output=True,
        text=True,
        env=os.environ | {"WANDB_BASE_URL": url, "WANDB_API_KEY": key},
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_read_one_run(sample: Sample, url: str, run_path: str) -> None:
    out = example("read_one_run.py", run_path, url=url, key=sample.key)
    assert f"{ROWS} rows, the last one with _step" in out


def test_filter_runs(sample: Sample, url: str) -> None:
    out = example("filter_runs.py", sample.path, "train/loss", url=url, key=sample.key)
    first, *lines = out.splitlines()
    losses = [float(line.split()[-1]) for line in lines]
    assert first == f"{len(lines)} runs"
    assert losses
    assert losses == sorted(losses)


def test_batches_of_a_run(sample: Sample, url: str, run_path: str) -> None:
    out = example("batches_of_a_run.py", run_path, "train/loss", url=url, key=sample.key)
    assert out.startswith(f"mean train/loss over {ROWS} rows: ")


def test_export_project(sample: Sample, url: str, tmp_path: Path) -> None:
    out = example("export_project.py", sample.path, tmp_path, url=url, key=sample.key)
    assert out.startswith(f"{RUNS} runs, {RUNS * ROWS} rows with ")


def test_own_sink(sample: Sample, url: str, tmp_path: Path) -> None:
    path = tmp_path / "wandb.sqlite"
    out = example("own_sink.py", sample.path, path, url=url, key=sample.key)
    assert out == f"{RUNS * ROWS} rows of {RUNS} runs in {path}\n"
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT count(*) FROM loss").fetchone() == (RUNS * ROWS,)


def test_without_await(sample: Sample, url: str) -> None:
    out = example("without_await.py", sample.path, url=url, key=sample.key)
    assert out.count("5 sampled rows") == RUNS


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
        return f"local/search/{sweep.name}"


def test_best_run_of_a_sweep(sample: Sample, url: str, sweep_path: str, tmp_path: Path) -> None:
    arguments = (sweep_path, "model.h5", tmp_path)
    out = example("best_run_of_a_sweep.py", *arguments, url=url, key=sample.key)
    assert out.startswith("good is the best of 2 by +summary_metrics.loss\n")
    assert (tmp_path / "model.h5").read_text() == "good"


def test_download_files(sample: Sample, url: str, sweep_path: str, tmp_path: Path) -> None:
    arguments = ("local/search/good", "%.h5", tmp_path)
    out = example("download_files.py", *arguments, url=url, key=sample.key)
    assert out == f"{tmp_path / 'model.h5'}\n"


def test_download_artifact(sample: Sample, url: str, sweep_path: str, tmp_path: Path) -> None:
    arguments = ("search/weights:v0", tmp_path)
    out = example("download_artifact.py", *arguments, url=url, key=sample.key)
    assert out.splitlines() == [
        "local/search/weights:v0 model 3 bytes",
        "made by bad",
        "1 files, 1 of them fetched now",
    ]
    assert (tmp_path / "w.bin").read_text() == "bad"


def test_git_commit(sample: Sample, url: str, sweep_path: str) -> None:
    out = example("git_commit.py", "search/good", url=url, key=sample.key)
    assert out == "git clone git@host:me/it\ngit checkout c0ffee\npython train.py --lr 1\n"


def test_no_example_is_left_out() -> None:
    tested = {name.removeprefix("test_") + ".py" for name in globals() if name.startswith("test_")}
    assert {path.name for path in EXAMPLES.glob("*.py")} <= tested
