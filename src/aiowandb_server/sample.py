"""A generated project to try things with: training runs with everything that real ones have.

Nested config, tags, notes, groups; loss curves with NaN and Infinity, nested keys and keys with
dots, media, strings, gaps in the steps; system metrics, console output, git metadata; and beside
the finished runs one that crashed, one that failed and one that is still running.
"""

from __future__ import annotations

import hashlib
import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from aiowandb_server.store import json_text
from aiowandb_server.store.records import RunChanges, iso
from aiowandb_server.store.stream import Chunk, StreamUpdate

if TYPE_CHECKING:
    from aiowandb_server.store.records import ProjectRow
    from aiowandb_server.store.store import Store

_MODELS = ("resnet18", "resnet50", "vit-small", "convnext")
_OPTIMIZERS = ("adam", "sgd", "lion")
_DATASETS = ("cifar10", "imagenet-1k", "food101")
_PHASES = ("warmup", "train", "cooldown")
_SECONDS_A_ROW = 1.5
_SECONDS_BETWEEN_RUNS = 5400


@dataclass(frozen=True, slots=True)
class SampleProject:
    """What the sample contains; `created` is false if it existed before."""

    entity: str
    project: str
    runs: int
    rows: int
    created: bool


@dataclass(frozen=True, slots=True)
class _Plan:
    """One run of the sample: its parameters and its final state."""

    name: str
    index: int
    rows: int
    started_at: float
    ending: str
    config: dict[str, Any]
    random: random.Random


def build_sample(
    store: Store,
    *,
    entity: str = "local",
    project: str = "sample",
    runs: int = 64,
    rows: int = 2000,
    seed: int = 7,
    now: float | None = None,
) -> SampleProject:
    """Fill `entity/project` with `runs` runs of `rows` rows each, the same ones for the same seed.

    A project that already has runs keeps them; its live run sends a heartbeat.
    """
    store.accounts.ensure_entity(entity)
    author = store.accounts.ensure_user("local", is_admin=True)
    target, _ = store.projects.ensure(entity, project, user_id=author.id)
    if store.runs.count(target) > 0:
        for run in store.runs.page(
            target, filters={"exit_code": None}, order="-created_at", first=1
        ).items:
            store.stream.apply(run, StreamUpdate())
        return _described(store, target, created=False)
    moment = store.clock() if now is None else now
    for plan in _plans(runs, rows, seed, moment):
        _write_run(store, target, author.id, plan)
    return _described(store, target, created=True)


def _plans(runs: int, rows: int, seed: int, now: float) -> list[_Plan]:
    plans = []
    for index in range(runs):
        chance = random.Random(f"{seed}:{index}")  # noqa: S311 - a sample, not a secret
        ending = {0: "live", 1: "crashed", 2: "failed"}.get(runs - 1 - index, "finished")
        # The live run started as long ago as its rows take; the others started earlier.
        age = rows * _SECONDS_A_ROW + (runs - 1 - index) * _SECONDS_BETWEEN_RUNS
        name = hashlib.sha256(f"{seed}:{index}".encode()).hexdigest()[:8]
        plans.append(_Plan(name, index, rows, now - age, ending, _config(index, chance), chance))
    return plans


def _config(index: int, chance: random.Random) -> dict[str, Any]:
    return {
        "lr": round(10 ** chance.uniform(-4.5, -1.5), 6),
        "batch_size": chance.choice((32, 64, 128, 256)),
        "epochs": 20,
        "seed": index,
        "amp": chance.random() < 0.5,
        "model": {
            "name": _MODELS[index % len(_MODELS)],
            "depth": chance.choice((18, 34, 50)),
            "dropout": round(chance.uniform(0, 0.5), 2),
            "blocks": [chance.choice((64, 128)), 256, 512],
        },
        "optimizer": {
            "name": chance.choice(_OPTIMIZERS),
            "betas": [0.9, 0.999],
            "weight_decay": 1e-4,
        },
        "data": {"name": chance.choice(_DATASETS), "augment": {"flip": True, "crop": 224}},
        "resume_from": None,
        "loss.scale": 1024,
    }


def _write_run(store: Store, project: ProjectRow, user_id: int, plan: _Plan) -> None:
    model = plan.config["model"]["name"]
    wrapped = {key: {"value": item} for key, item in plan.config.items()}
    wrapped["_wandb"] = {"value": {"cli_version": "0.31.0", "python_version": "3.12.1", "t": {}}}
    changes = RunChanges(
        display_name=f"{model}-{plan.index + 1}",
        user_id=user_id,
        group=f"{model}-{plan.config['optimizer']['name']}",
        job_type="train",
        host=f"node-{plan.index % 4}",
        program="train.py",
        repo="https://example.com/vision/train.git",
        git_commit=hashlib.sha1(plan.name.encode()).hexdigest(),  # noqa: S324 - git's own
        tags=[model, "baseline" if plan.index % 3 == 0 else "tuned"],
        notes=f"Learning rate {plan.config['lr']} on {plan.config['data']['name']}.",
        config=json_text.dumps(wrapped),
        created_at=int(plan.started_at),
    )
    run, _ = store.runs.upsert(project, plan.name, changes)
    lines, summary = _history(plan)
    ended_at = plan.started_at + plan.rows * _SECONDS_A_ROW
    update = StreamUpdate(
        chunks={
            "history": Chunk(0, lines),
            "events": Chunk(0, _events(plan)),
            "console": Chunk(0, _console(plan)),
        },
        summary=json_text.dumps(summary),
        complete=plan.ending in ("finished", "failed"),
        exit_code={"finished": 0, "failed": 1}.get(plan.ending),
    )
    store.stream.apply(run, update, at=ended_at)
    store.files.add(run, "wandb-metadata.json", orjson.dumps(_metadata(plan, changes)))
    if plan.ending != "live":
        store.compaction.compact(run.id)


def _metadata(plan: _Plan, changes: RunChanges) -> dict[str, Any]:
    """What the SDK records about a run's machine and code."""
    return {
        "os": "Linux-6.1-x86_64-with-glibc2.36",
        "python": "CPython 3.12.1",
        "startedAt": f"{iso(plan.started_at)}Z",
        "program": changes.program,
        "codePath": "train.py",
        "host": changes.host,
        "executable": "/usr/bin/python3",
        "cpu_count": 16,
        "cpu_count_logical": 32,
        "gpu": "NVIDIA A100",
        "gpu_count": 1,
        "memory": {"total": "137438953472"},
        "git": {"remote": changes.repo, "commit": changes.git_commit},
        "args": ["--lr", str(plan.config["lr"])],
    }


def _history(plan: _Plan) -> tuple[list[str], dict[str, Any]]:
    """The lines of a run, and its summary: the last value of each key."""
    chance = plan.random
    floor = chance.uniform(0.05, 0.4)
    speed = chance.uniform(2, 6)
    lines: list[str] = []
    summary: dict[str, Any] = {}
    # A fifth of the runs skip some steps, as runs do that set their own step.
    gap_at = plan.rows // 2 if plan.index % 5 == 0 else plan.rows
    for number in range(plan.rows):
        progress = number / max(plan.rows - 1, 1)
        loss = floor + 2.3 * math.exp(-speed * progress) + chance.gauss(0, 0.02)
        row: dict[str, Any] = {
            "_step": number if number < gap_at else number + 100,
            "_runtime": round(number * _SECONDS_A_ROW, 3),
            "_timestamp": round(plan.started_at + number * _SECONDS_A_ROW, 3),
            "epoch": int(progress * 20),
            "train/loss": round(loss, 6),
            "train/acc": round(max(0.0, 1 - loss / 2.5), 6),
            "lr": round(plan.config["lr"] * (1 + math.cos(math.pi * progress)) / 2, 9),
            "phase": _PHASES[min(int(progress * 3), 2)],
            "improved": chance.random() < 0.3,
            "grad": {"norm": round(chance.expovariate(1), 5), "layers": {"head": number % 7}},
        }
        if number % 10 == 0:
            row["val"] = {"loss": round(loss * 1.1, 6), "acc": round(1 - loss / 2.4, 6)}
            row["val.best"] = round(min(loss * 1.1, summary.get("val.best", 9.9)), 6)
        if number % 250 == 0:
            row["weights"] = _histogram(chance)
            row["examples"] = _image(plan.name, number)
        if number % 401 == 400:
            row["train/loss"] = math.nan
        if number % 701 == 700:
            row["grad"]["norm"] = math.inf
        summary.update(row)
        lines.append(_line(row))
    summary["_wandb"] = {"runtime": int(plan.rows * _SECONDS_A_ROW)}
    return lines, summary


def _line(row: dict[str, Any]) -> str:
    if math.isfinite(row["train/loss"]) and math.isfinite(row["grad"]["norm"]):
        return orjson.dumps(row).decode()
    return json_text.dumps(row)  # orjson does not write NaN


def _histogram(chance: random.Random) -> dict[str, Any]:
    return {
        "_type": "histogram",
        "values": [chance.randrange(100) for _ in range(8)],
        "bins": [round(-1 + index / 4, 2) for index in range(9)],
    }


def _image(name: str, number: int) -> dict[str, Any]:
    digest = hashlib.sha256(f"{name}:{number}".encode()).hexdigest()
    return {
        "_type": "image-file",
        "path": f"media/images/examples_{number}_{digest[:20]}.png",
        "sha256": digest,
        "size": 2048,
        "width": 32,
        "height": 32,
        "format": "png",
    }


def _events(plan: _Plan) -> list[str]:
    """System metrics, one line every fifteen seconds."""
    chance = plan.random
    lines = []
    for index in range(int(plan.rows * _SECONDS_A_ROW / 15) + 1):
        sample = {
            "_wandb": True,
            "_runtime": index * 15,
            "_timestamp": round(plan.started_at + index * 15, 3),
            "system.cpu": round(chance.uniform(20, 95), 2),
            "system.memory_percent": round(chance.uniform(30, 60), 2),
            "system.gpu.0.gpu": chance.randrange(60, 100),
            "system.gpu.0.temp": chance.randrange(50, 80),
        }
        lines.append(orjson.dumps(sample).decode())
    return lines


def _console(plan: _Plan) -> list[str]:
    lines = []
    for epoch in range(20):
        moment = iso(plan.started_at + epoch * plan.rows * _SECONDS_A_ROW / 20)
        lines.append(f"{moment}.000000 epoch {epoch + 1}/20")
    if plan.ending == "failed":
        moment = iso(plan.started_at + plan.rows * _SECONDS_A_ROW)
        lines.append(f"ERROR {moment}.000000 RuntimeError: CUDA out of memory")
    return lines


def _described(store: Store, project: ProjectRow, *, created: bool) -> SampleProject:
    runs = rows = 0
    after = None
    while True:
        page = store.runs.page(project, first=1000, after=after)
        runs += len(page.items)
        rows += sum(run.history_lines for run in page.items)
        if not page.has_next:
            return SampleProject(project.entity, project.name, runs, rows, created)
        after = page.cursors[-1]
