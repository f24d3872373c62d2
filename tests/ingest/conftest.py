"""Two W&Bs: one with all kinds of runs, and empty ones to copy them to."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from aiowandb import AsyncApi
from aiowandb_server import RunChanges, Store
from aiowandb_server.store.stream import Chunk, StreamUpdate

SOURCE = "local/varied"
# Rows with everything that rows may have.
ODD_ROWS = [
    '{"_step":0,"loss":NaN,"nest":{"x":1,"y":{"z":Infinity}},"text":"a\\"b\\u00e9"}',
    '{"_step":3,"loss":-Infinity,"list":[1,2],"floats":[0.5,NaN],"empty":{},"flag":true}',
    '{"_step":4,"loss":1e300,"image":{"_type":"image-file","path":"media/a.png","size":3}}',
    '{"_step":7,"mixed":"x","big":9007199254740993,"dotted.key":1}',
    '{"_step":9,"mixed":5,"loss":-0.0,"nest":{"x":2.5}}',
]
LOG = ["2026-01-02T03:04:05.000006 hello", "ERROR 2026-01-02T03:04:06.500000 oh [no]", "bare"]
FILES = {"config.yaml": b"a: 1", "media/a.png": b"png", "empty.txt": b"", "x.bin": bytes(5 << 20)}


def make_run(store: Store, name: str, *, rows: list[str], **facts: Any) -> None:
    """A run as a script leaves it behind."""
    exit_code = facts.pop("exit_code", 0)
    is_over = facts.pop("is_over", True)
    files = facts.pop("files", {})
    project, _ = store.projects.ensure("local", SOURCE.partition("/")[2])
    facts["user_id"] = store.accounts.ensure_user("ada").id
    run, _ = store.runs.upsert(project, name, RunChanges(**facts))
    events = [f'{{"_timestamp":{n},"system.cpu":{n / 7}}}' for n in range(5)]
    chunks: Any = {
        "history": Chunk(0, rows),
        "events": Chunk(0, events),
        "console": Chunk(0, LOG),
    }
    summary = json.dumps({"loss": 0.1, "best": {"acc": float("nan")}, "dotted.key": 1})
    update = StreamUpdate(chunks, summary, complete=is_over, exit_code=exit_code)
    store.stream.apply(run, update)
    for file, content in files.items():
        store.files.add(run, file, content)


@pytest.fixture(scope="session")
def varied_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project `local/varied`."""
    folder = tmp_path_factory.mktemp("varied")
    own = {"m": [{"1": "loss", "7": [1]}], "e": {"w": {"host": "box", "program": "train.py"}}}
    config = {"lr": {"value": 0.1, "desc": "rate"}, "_wandb": {"value": own}, "n": {"value": None}}
    with Store.open(folder, crash_after=float("inf")) as store:
        make_run(
            store,
            "odd",
            rows=ODD_ROWS,
            files=FILES,
            config=json.dumps(config),
            display_name="Odd & even",
            tags=["b", "a"],
            notes="two\nlines",
            group="g",
            job_type="train",
            git_commit="abc",
            created_at=1_700_000_000,
        )
        plain = [f'{{"_step":{n},"loss":{1 / (n + 1)},"n":{n}}}' for n in range(1500)]
        make_run(store, "plain", rows=plain, exit_code=3)
        make_run(store, "live", rows=plain[:10], is_over=False)
        project, _ = store.projects.ensure("local", "varied")
        ada = store.accounts.ensure_user("ada").id
        store.runs.upsert(project, "bare", RunChanges(state="crashed", user_id=ada))
    return folder


@pytest.fixture
async def source(varied_folder: Path) -> AsyncIterator[AsyncApi]:
    """The W&B that has the runs."""
    async with AsyncApi.local(varied_folder) as api:
        yield api


@pytest.fixture
def target_folder(new_folder: Callable[[Path], Path], tmp_path: Path) -> Path:
    return new_folder(tmp_path / "target")


@pytest.fixture
async def target(target_folder: Path) -> AsyncIterator[AsyncApi]:
    """An empty W&B."""
    async with AsyncApi.local(target_folder) as api:
        yield api


async def dump(api: AsyncApi, project: str) -> dict[str, Any]:
    """All that W&B says of the runs of a project, without the copy's own mark."""
    api.flush()
    found = {}
    async for run in api.runs(project, order="+created_at", fresh=True):
        raw = {key: value for key, value in run.raw_config.items() if key != "_aiowandb"}
        facts = {name: getattr(run, name) for name in FACTS}
        parts = {
            "facts": facts,
            "config": sorted(raw.items()),
            "summary": sorted(run.summary_metrics.items()),
            "rows": [sorted(row.items()) async for row in run.scan_history()],
            "system": [sorted(row.items()) async for row in run.scan_history(stream="system")],
            "console": [line async for line in run.console_logs()],
            "files": [(f.name, f.size, f.md5) async for f in run.files(fresh=True)],
        }
        found[run.id] = {name: repr(part) for name, part in parts.items()}
    return found


FACTS = (
    *("name", "state", "tags", "notes", "description", "group", "job_type", "commit"),
    *("created_at", "heartbeat_at", "username", "last_step", "history_line_count"),
)
