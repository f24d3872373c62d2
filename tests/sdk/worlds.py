"""Two embedded W&Bs that begin alike, so that two clients may change each its own."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aiowandb.choices import HistoryMode
from aiowandb_server import RunChanges, Store, create_app, serve_in_thread
from aiowandb_server.store.records import RunRow
from aiowandb_server.store.stream import Chunk, StreamUpdate
from aiowandb_server.store.sweeps import SweepChanges
from tests.sdk.conftest import Sdk
from tests.support.artifacts import log_artifact

START = 1_704_067_200  # the first day of 2024
DAY = 24 * 3600
NOW = START + 9 * DAY
ROWS = 30
RUNNER = Path(__file__).with_name("run_scripts.py")
SWEEP = """{name: search, method: grid, metric: {name: val_acc, goal: maximize},
            parameters: {lr: {values: [0.1, 0.01, 0.001]}}}"""
METADATA = b'{"program": "train.py", "git": {"remote": "git@host:me/it", "commit": "c0ffee"}}'


def build(folder: Path) -> None:
    """The project `vision` with a sweep of three runs and one more, and `past` with one run."""
    with Store.open(folder, clock=lambda: NOW) as store:
        user = store.accounts.ensure_user("local")
        project, _ = store.projects.ensure("local", "vision", user_id=user.id)
        sweep = store.sweeps.create(project, SweepChanges(config=SWEEP)).name
        for number, name in enumerate(("adam", "sgd", "lion")):
            run = add_run(store, "vision", name, number, sweep)
            files = {"weights.bin": name.encode(), "sub/more.txt": b"more"}
            log_artifact(store, run, "weights", files, kind="model", aliases=[name])
        add_run(store, "vision", "other", 3)
        add_run(store, "past", "done", 4)
        add_odd_run(store, "file", finished=True)
        add_odd_run(store, "live", finished=False)


def add_run(store: Store, project_name: str, name: str, number: int, sweep: str = "") -> RunRow:
    user = store.accounts.ensure_user("local")
    project, _ = store.projects.ensure("local", project_name, user_id=user.id)
    config = {
        "lr": {"value": 0.1**number},
        "experiment_name": {"value": ["foo", "bar", "baz", "foo", "past"][number]},
        "net": {"value": {"depth": number, "dims": [1, 2]}},
        "_wandb": {"value": {"cli_version": "0.31.0", "t": {"1": [2]}}},
    }
    changes = RunChanges(
        display_name=f"{name}-run",
        user_id=user.id,
        sweep=sweep or None,
        group="search",
        job_type="train",
        git_commit="c0ffee",
        tags=["baseline", "naïve"][: number + 1] if number < 2 else [],
        notes=f"Run {number}.",
        config=json.dumps(config),
        created_at=START + number * DAY,
    )
    run, _ = store.runs.upsert(project, name, changes)
    store.stream.apply(run, what_it_sent(number), at=START + number * DAY + ROWS)
    store.files.add(run, "model-best.h5", f"the model of {name}".encode())
    store.files.add(run, "data/table.csv", b"a,b\n1,2\n")
    store.files.add(run, "wandb-metadata.json", METADATA)
    store.compaction.compact(run.id)
    return run


def add_odd_run(store: Store, name: str, *, finished: bool) -> None:
    """Eight rows which the two clients read differently; a finished run has them as Parquet."""
    project, _ = store.projects.ensure("local", "odd")
    user = store.accounts.ensure_user("local")
    run, _ = store.runs.upsert(project, name, RunChanges(user_id=user.id))
    for step in range(8):
        odd = step % 2
        row: dict[str, Any] = {"_step": step, "whole": step / 4, "val": {"acc": 0.1 + step}}
        row |= {"mixed": "text" if odd else [step], "nan": math.nan if odd else 0.5}
        row |= {"rare": 0.1 + step} if step % 4 == 3 else {}
        store.history.append(run, [json.dumps(row)])
    if finished:
        store.finish(run)


def what_it_sent(number: int) -> StreamUpdate:
    rows = [
        {
            "_step": step,
            "_runtime": step + 0.5,
            "_timestamp": START + number * DAY + step + 0.25,
            "loss": 1 / (step + 1.5 + number),
            "accuracy": (step + 0.5) / (ROWS + number),
        }
        for step in range(ROWS)
    ]
    events = [{"_timestamp": START + s, "_runtime": s, "system.cpu": 50 + s} for s in (0, 15)]
    val_acc = [0.8, 0.9, 0.6, 0.5, 0.7][number]
    return StreamUpdate(
        chunks={
            "history": Chunk(0, list(map(json.dumps, rows))),
            "events": Chunk(0, list(map(json.dumps, events))),
            "console": Chunk(0, ["2024-01-01T00:00:00.000000 hello"]),
        },
        summary=json.dumps(rows[-1] | {"val_acc": val_acc, "val": {"loss": number / 8}}),
        complete=True,
        exit_code=number // 3,
    )


def said_by(
    client: str,
    scripts: Sequence[Path],
    world: Path,
    folder: Path,
    history: HistoryMode = "parquet",
) -> dict[str, str]:
    """What each of the scripts prints with that client, in a copy of the world."""
    shutil.copytree(world, folder / "world")
    with (
        Store.open(folder / "world", clock=lambda: NOW) as store,
        serve_in_thread(create_app(store, history=history)) as url,
    ):
        done = subprocess.run(
            [sys.executable, RUNNER, client, *scripts],
            cwd=folder,
            env=Sdk(url, store, folder).environment(),
            capture_output=True,
            text=True,
            timeout=300,
        )
    assert done.returncode == 0, done.stderr
    said: list[Any] = [json.loads(line) for line in done.stdout.splitlines()]
    return {name: text.replace(url, "W&B") for name, text in said}
