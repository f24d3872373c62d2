"""The generated sample project."""

from __future__ import annotations

import json
import math
from pathlib import Path

from aiowandb_server import Store, build_sample
from tests.server.conftest import START, Clock


def test_the_sample_has_what_real_projects_have(store: Store) -> None:
    summary = build_sample(store, runs=6, rows=800)
    assert (summary.runs, summary.rows, summary.created) == (6, 4800, True)
    project = store.projects.get("local", "sample")
    assert project is not None
    runs = store.runs.page(project).items
    assert [run.state for run in runs] == ["finished"] * 3 + ["failed", "crashed", "running"]
    keys = json.loads(store.history.keys(runs[0].id))["keys"]
    kinds = {entry["type"] for facts in keys.values() for entry in facts["typeCounts"]}
    assert kinds >= {"number", "string", "boolean", "histogram", "image-file"}
    assert {"grad.norm", "val.best", "grad.layers.head", "train/loss"} <= set(keys)
    text = "".join(store.history.window(runs[0], 0, 10_000, 10_000))
    assert "NaN" in text
    assert "Infinity" in text
    assert json.loads(runs[0].config)["model"]["value"]["depth"]
    assert math.isfinite(json.loads(runs[0].summary)["train/acc"])
    assert store.files.get(runs[0], "wandb-metadata.json") is not None
    assert runs[0].event_lines > 10
    assert runs[0].console_lines >= 20
    assert store.history.exported(runs[0], "parquet").tokens
    assert not store.history.exported(runs[-1], "parquet").tokens, "the live one is not compacted"


def test_the_same_seed_makes_the_same_sample(tmp_path: Path) -> None:
    texts = []
    for name in ("one", "two"):
        with Store.open(tmp_path / name, clock=Clock()) as store:
            build_sample(store, runs=4, rows=50, now=START)
            project = store.projects.get("local", "sample")
            assert project is not None
            runs = store.runs.page(project).items
            texts.append([store.history.window(run, 0, 1000, 1000) for run in runs])
    assert texts[0] == texts[1]


def test_a_second_call_keeps_the_runs_and_lets_the_live_one_live(
    store: Store, clock: Clock
) -> None:
    first = build_sample(store, runs=4, rows=50)
    clock.now += 5000
    second = build_sample(store, runs=4, rows=50)
    assert (second.runs, second.rows, second.created) == (first.runs, first.rows, False)
    project = store.projects.get("local", "sample")
    assert project is not None
    assert store.runs.count(project, {"state": "running"}) == 1
