"""The script that people share for copying a project: `wandb.init` and `log` for each row."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import wandb

from benchmarks.contenders.clock import Job, Outcome, leave, measured

SOURCE, TARGET = "local/source", "local/copied"
_PROCESSES = 8


def script(job: Job) -> Outcome:
    """All runs, one after another, with the official client."""
    return Outcome(_copy_runs(job.url, _ids(job.url)))


def script_pooled(job: Job) -> Outcome:
    """The same in eight processes."""
    ids = _ids(job.url)
    with ProcessPoolExecutor(_PROCESSES, get_context("spawn")) as pool:
        parts = [ids[number::_PROCESSES] for number in range(_PROCESSES)]
        return Outcome(sum(pool.map(_copy_runs, [job.url] * _PROCESSES, parts)))


def _source(url: str) -> Any:
    return wandb.Api(overrides={"base_url": url}, api_key=os.environ["SOURCE_KEY"])


def _ids(url: str) -> list[str]:
    return [run.id for run in _source(url).runs(SOURCE)]


def _copy_runs(url: str, ids: list[str]) -> int:
    api, rows = _source(url), 0
    for run_id in ids:
        run = api.run(f"{SOURCE}/{run_id}")
        entity, _, project = TARGET.partition("/")
        settings = wandb.Settings(
            base_url=os.environ["TARGET_URL"], api_key=os.environ["TARGET_KEY"]
        )
        copied = wandb.init(
            entity=entity,
            project=project,
            id=run.id,
            name=run.name,
            config=dict(run.config),
            tags=run.tags,
            settings=settings,
        )
        for row in run.scan_history():
            step = row.pop("_step")
            copied.log({key: value for key, value in row.items() if value is not None}, step=step)
            rows += 1
        copied.finish()
    return rows


if __name__ == "__main__":
    measured(script, script_pooled)
    leave()
