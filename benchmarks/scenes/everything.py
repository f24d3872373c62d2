"""An export of runs with files, logs, tables and system metrics: the requests of each kind."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import anyio

from aiowandb import AsyncApi
from aiowandb.choices import What
from aiowandb_server import RunChanges, Store, create_app, serve_in_thread
from aiowandb_server.store.stream import Chunk, StreamUpdate
from benchmarks.figures import Effort, Figure, Findings

_RUNS = 1_000
_PATH = "local/everything"
_KINDS: Sequence[What] = ("logs", "system", "tables", "media", "histograms", "metrics", "files")
# Files are listed run by run.
_LISTS_PER_RUN = {"files": 1}
_MOST = 8


def of_many_kinds(effort: Effort) -> Findings:
    """1,000 runs, each with a log, a table, histograms, system metrics and two files."""
    figures = []
    with TemporaryDirectory(prefix="aiowandb-bench-") as place, Store.open(Path(place)) as store:
        runs = effort.of(_RUNS)
        for number in range(runs):
            _fill(store, number)
        with serve_in_thread(create_app(store)) as url:
            counted = anyio.run(_count, url, store.local_key, Path(place, "out"))
    hundreds = max(1.0, runs / 100)
    for kind, requests in counted.items():
        beyond = requests - runs * _LISTS_PER_RUN.get(kind, 0)
        what = f"API requests for 100 runs, {kind}"
        figures.append(Figure("everything", what, [beyond / hundreds], at_most=_MOST))
    return Findings(figures)


async def _count(url: str, key: str, folder: Path) -> dict[str, int]:
    """The requests that the export of each kind takes besides the list of runs."""
    found: dict[str, int] = {}
    async with AsyncApi(key, base_url=url) as api:
        plain = await api.runs(_PATH).export(folder / "runs", what=["runs"])
        for kind in _KINDS:
            result = await api.runs(_PATH).export(folder / kind, what=["runs", kind])
            assert not result.failed
            found[kind] = result.requests - plain.requests
    return found


def _fill(store: Store, number: int) -> None:
    project, _ = store.projects.ensure(*_PATH.split("/"))
    made_at = RunChanges(created_at=1_750_000_000 + number)
    run, _ = store.runs.upsert(project, f"run{number}", made_at)
    table = json.dumps({"columns": ["x"], "data": [[number]]}).encode()
    path = "media/table/t.table.json"
    value: dict[str, Any] = {"_type": "table-file", "path": path, "nrows": 1, "size": len(table)}
    value["sha256"] = hashlib.sha256(table).hexdigest()
    histogram = {"_type": "histogram", "values": [1, 2], "bins": [0, 1, 2]}
    rows = [{"_step": step, "loss": 1 / (step + 1), "h": histogram} for step in range(20)]
    store.history.append(run, [json.dumps(row) for row in [*rows, {"_step": 20, "t": value}]])
    events = [{"_timestamp": 1.0 + i, "system.cpu": 1.0} for i in range(20)]
    chunks: dict[Literal["history", "events", "console"], Chunk] = {
        "events": Chunk(0, [json.dumps(row) for row in events]),
        "console": Chunk(0, [f"line {i}" for i in range(50)]),
    }
    store.stream.apply(run, StreamUpdate(chunks=chunks, complete=True, exit_code=0))
    store.files.add(run, path, table)
    store.files.add(run, "output.log", b"line\n")
