"""The projects that the pages show: one as people have them, a long one, a hostile one, a sweep."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aiowandb_server import RunChanges, Store
from aiowandb_server.store.records import ProjectRow, RunRow
from aiowandb_server.store.stream import Chunk, StreamUpdate
from aiowandb_server.store.sweeps import SweepChanges

RunId = str
RUNS_OF_LONG = 130
COMMIT = "0123456789abcdef0123456789abcdef01234567"
POINTS = 2000
# One red pixel.
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGP4z8DwHwAFAAH/iZk9HQAAAABJRU5ErkJggg=="
)
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9" onload="window.hacked = 1"/>'
HOSTILE = (
    "<script>window.hacked = 1</script>",
    "<img src=x onerror='window.hacked = 1'>",
    '"><svg onload="window.hacked = 1">',
    "javascript:window.hacked = 1//",
    "'; window.hacked = 1; //",
    "{{constructor.constructor('window.hacked = 1')()}}",
    '=HYPERLINK("http://evil.example")',
    "\u202egnp.exe",
)
SWEEP = """
method: random
metric: {name: loss, goal: minimize}
parameters:
  lr: {min: 0.001, max: 0.1}
  layers: {values: [1, 2, 4]}
  optimizer: {values: [adam, sgd]}
"""


@dataclass(frozen=True)
class _Writer:
    store: Store
    project: ProjectRow

    def run(
        self,
        name: str,
        rows: list[dict[str, Any]],
        *,
        events: Sequence[dict[str, Any] | str] = (),
        console: list[str] | None = None,
        summary: dict[str, Any] | None = None,
        **changes: Any,
    ) -> RunRow:
        """A finished run."""
        changes["user_id"] = self.project.user_id
        run, _ = self.store.runs.upsert(self.project, name, RunChanges(**changes))
        found: dict[str, Any] = {}
        for row in rows:
            found.update(row)
        chunks = {
            "history": Chunk(0, list(map(json.dumps, rows))),
            "events": Chunk(0, [x if isinstance(x, str) else json.dumps(x) for x in events]),
            "console": Chunk(0, console or []),
        }
        update = StreamUpdate(
            chunks=chunks,  # type: ignore[arg-type]
            summary=json.dumps(found if summary is None else summary),
            complete=True,
            exit_code=0,
        )
        self.store.stream.apply(run, update)
        self.store.compaction.compact(run.id)
        return run


def build_projects(store: Store) -> RunId:
    """Fill the store; gives the id of the run in `local/demo` that has everything."""
    _demo(store)
    _long(store)
    _hostile(store)
    _sweep(store)
    return "r0"


def _config(**values: Any) -> str:
    return json.dumps({key: {"value": value} for key, value in values.items()})


def _writer(store: Store, project: str) -> _Writer:
    local = store.accounts.user("local")
    assert local is not None
    return _Writer(store, store.projects.ensure("local", project, user_id=local.id)[0])


def _demo(store: Store) -> None:
    write = _writer(store, "demo")
    for number in range(4):
        rows: list[dict[str, Any]] = [
            {
                "_runtime": step * 2,
                "_timestamp": 1_750_000_000 + step * 2,
                "epoch": step // 100,
                "train/loss": 5.0 if step == 777 else 1 / (1 + step / (50 * (number + 1))),
                "train/acc": step / POINTS,
            }
            | ({"val/loss": 2 / (1 + step)} if step % 100 == 0 else {})
            for step in range(POINTS)
        ]
        table = {"_type": "table-file", "path": "media/table/samples_1.table.json"}
        summary = {"train/loss": 1 / (number + 2), "train/acc": 0.5 + number / 10, "samples": table}
        metrics = {"m": [{"1": "epoch"}, {"2": "val/*", "5": 1}]}
        run = write.run(
            f"r{number}",
            rows,
            events=[{"_runtime": 15 * n, "system.cpu": 50 + n % 7} for n in range(200)],
            console=[f"2026-01-31T12:00:00.000000 line {n}" for n in range(1500)]
            + ["ERROR 2026-01-31T12:00:00.000000 something broke"],
            summary=summary,
            display_name=f"run number {number}",
            config=_config(lr=10.0**-number, model={"depth": 18, "name": "resnet"}, _wandb=metrics),
            tags=["even" if number % 2 == 0 else "odd"],
            notes="as it was",
            host="node-1",
            program="train.py",
            repo="https://example.com/vision/train.git",
            git_commit=COMMIT,
        )
        store.files.add(run, "media/images/example_3_0123456789abcdef0123.png", PNG)
        store.files.add(run, "media/images/drawing_3_0123456789abcdef0123.svg", SVG)
        store.files.add(run, "config.yaml", b"lr:\n  value: 0.1\n")
        data = [[n, f"word {n}", n / 7] for n in range(60)]
        content = json.dumps({"columns": ["id", "word", "score"], "data": data}).encode()
        store.files.add(run, "media/table/samples_1.table.json", content)


def _long(store: Store) -> None:
    write = _writer(store, "long")
    for number in range(RUNS_OF_LONG):
        name = f"n{number:03d}"
        changes = RunChanges(config=_config(n=number), summary=f'{{"score": {number % 10}}}')
        store.runs.upsert(write.project, name, changes)


def _hostile(store: Store) -> None:
    write = _writer(store, "hostile")
    keys = {f"k{n}/{'<b>' if n % 2 else ''}value": float(n) for n in range(10_000)}
    rows: list[dict[str, Any]] = [
        dict.fromkeys(HOSTILE, step) | (keys if step == 2 else {}) for step in range(3)
    ]
    table = {"_type": "table-file", "path": "media/table/bad.table.json"}
    run = write.run(
        "h0",
        rows,
        events=[{HOSTILE[0]: 1}, "no JSON", "null", "[1]", '{"a": NaN, "b": "x: NaN"}'],
        console=[*HOSTILE, "x" * 1_000_000, "\x1b[31mred\x1b[0m"],
        summary={
            **dict.fromkeys(HOSTILE, HOSTILE[0]),
            **keys,
            "long": "x" * 1_000_000,
            "t": table,
        },
        display_name=HOSTILE[0],
        config=_config(**{text: text for text in HOSTILE}, long="y" * 1_000_000),
        tags=list(HOSTILE[:3]),
        notes=HOSTILE[1],
        host=HOSTILE[2],
        program=HOSTILE[3],
        repo=HOSTILE[3],
        git_commit=HOSTILE[4],
        group=HOSTILE[5],
        job_type=HOSTILE[6],
    )
    store.files.add(run, "media/images/<img src=x onerror=alert(1)>.svg", SVG)
    store.files.add(run, "wandb-metadata.json", b'{"args": 5, "git": 7, "os": {}}')
    store.files.add(run, "page.html", b"<script>window.hacked = 1</script>")
    content = json.dumps({"columns": list(HOSTILE), "data": [list(HOSTILE)] * 3}).encode()
    store.files.add(run, "media/table/bad.table.json", content)


def _sweep(store: Store) -> None:
    write = _writer(store, "search")
    sweep = store.sweeps.create(write.project, SweepChanges(config=SWEEP, display_name="hunt"))
    for number in range(12):
        config = _config(
            lr=0.001 * 1.4**number, layers=2 ** (number % 3), optimizer=("adam", "sgd")[number % 2]
        )
        write.run(f"s{number}", [{"loss": abs(number - 7) + 0.25}], config=config, sweep=sweep.name)
