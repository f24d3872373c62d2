"""Every example runs as its docstring says, against an embedded W&B on a port."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from aiowandb import Api

from .conftest import ROWS, RUNS, Sample

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


def test_without_await(sample: Sample, url: str) -> None:
    out = example("without_await.py", sample.path, url=url, key=sample.key)
    assert out.count("5 sampled rows") == RUNS


def test_no_example_is_left_out() -> None:
    tested = {name.removeprefix("test_") + ".py" for name in globals() if name.startswith("test_")}
    assert {path.name for path in EXAMPLES.glob("*.py")} <= tested
