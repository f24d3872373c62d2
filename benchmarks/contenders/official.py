"""The official `wandb.Api()`, as its guide shows it: `scan_history` into pandas into Parquet."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pandas as pd
import pyarrow.parquet  # noqa: F401 - by pandas
import wandb

from benchmarks.contenders.clock import Job, Outcome, leave, measured
from benchmarks.origin.project import PATH

_THREADS = 16


def export(job: Job) -> Outcome:
    return Outcome(sum(_export_run(run, job) for run in wandb.Api().runs(PATH)))


def export_pooled(job: Job) -> Outcome:
    runs = wandb.Api().runs(PATH)
    with ThreadPoolExecutor(_THREADS) as pool:
        return Outcome(sum(pool.map(lambda run: _export_run(run, job), runs)))


def iterate_rows(_: Job) -> Outcome:
    return Outcome(sum(1 for run in wandb.Api().runs(PATH) for _ in run.scan_history()))


def list_to_csv(job: Job) -> Outcome:
    rows = []
    # Without lazy=False each run would cost a request of its own.
    for run in wandb.Api().runs(PATH, lazy=False):
        row: dict[str, Any] = {"run_id": run.id, "name": run.name, "state": run.state}
        row |= {f"config.{key}": value for key, value in run.config.items()}
        row |= {f"summary.{key}": value for key, value in run.summary._json_dict.items()}
        rows.append(row)
    pd.DataFrame(rows).to_csv(job.folder / "runs.csv", index=False)
    return Outcome(len(rows))


def _export_run(run: Any, job: Job) -> int:
    frame = pd.DataFrame(list(run.scan_history()))
    frame["run_id"] = run.id
    frame.to_parquet(job.folder / f"{run.id}.parquet")
    return len(frame)


if __name__ == "__main__":
    measured(export, export_pooled, iterate_rows, list_to_csv)
    leave()
