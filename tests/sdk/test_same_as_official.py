"""Every read, ours and the official client's, over the same runs: they tell the same.

Where they do not, `expected` below makes of the official answer what ours is meant
to be; the README lists these differences with their reasons.
"""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import pytest

from aiowandb import Api
from aiowandb.local import RunChanges, Store, build_sample, create_app, serve_in_thread
from aiowandb.wire import lenient
from aiowandb.wire.dotted import flattened

pytestmark = pytest.mark.sdk

KEYS = ["train/loss", "val.acc"]
Told = dict[str, Any]


def make_odd_runs(store: Store, number: int) -> None:
    """Runs that nobody would log on purpose, and that somebody has."""
    chance = random.Random(5)
    user = store.accounts.ensure_user("local")
    project, _ = store.projects.ensure("local", "sample")
    for n in range(number):
        config = {f"k{i}": {"value": odd_value(chance, 2)} for i in range(4)}
        tags = ["ünï", "two words"][: n % 3]
        changes = RunChanges(config=lenient.dumps(config), tags=tags, user_id=user.id)
        run, _ = store.runs.upsert(project, f"odd-{n}", changes)
        step, lines = 0, []
        for _ in range(chance.choice([0, 1, 5, 60])):
            row: Told = {"_step": step, "train/loss": chance.random()}
            if chance.random() < 0.5:
                row["val"] = {"acc": chance.random(), "deep": {"er": chance.randint(0, 9)}}
            if chance.random() < 0.3:
                row[f"k{chance.randint(0, 3)}"] = odd_value(chance, 1)
            lines.append(lenient.dumps(row))
            step += chance.choice([1, 1, 1, 7])
        store.history.append(run, lines)
        if n % 4:
            store.finish(run, exit_code=n % 2)


def odd_value(chance: random.Random, depth: int) -> Any:
    plain = [1, -(2**40), 0.5, math.nan, math.inf, True, None, "", "NaN", "naïve ☃", [1, 2.5]]
    if depth and chance.random() < 0.3:
        return {chance.choice("abc"): odd_value(chance, depth - 1) for _ in range(2)}
    return chance.choice(plain)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("wandb")
    with Store.open(folder) as store:
        build_sample(store, runs=4, rows=80)
        make_odd_runs(store, 16)
    return Store.open(folder)


def official(url: str, key: str, cache: Path) -> list[Any]:
    reader = Path(__file__).with_name("official_reader.py")
    done = subprocess.run(
        [sys.executable, reader, "local/sample", *KEYS],
        capture_output=True,
        text=True,
        env=os.environ
        | {"WANDB_BASE_URL": url, "WANDB_API_KEY": key}
        | {"WANDB_SILENT": "true", "WANDB_CACHE_DIR": str(cache)},
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def ours(url: str, key: str) -> list[Any]:
    with Api(key, base_url=url) as api:
        runs = api.runs("local/sample", order="+created_at", per_page=7)
        return [[len(runs), [run.id for run in runs[2:5]]], *map(read, runs)]


def read(run: Any) -> Told:
    attributes = (
        "id name state tags group job_type notes commit path url rawconfig config"
        " system_metrics lastHistoryStep username storage_id sweep_name"
    )
    told = {name: getattr(run, name) for name in attributes.split()}
    told["summary"] = run.summary._json_dict
    told["history"] = run.history(samples=10, pandas=False)
    told["history_keys"] = run.history(samples=10, keys=KEYS[:1], pandas=False)
    told["system"] = run.history(samples=5, stream="system", pandas=False)
    told["scan"] = list(run.scan_history())
    told["scan_keys"] = list(run.scan_history(keys=KEYS))
    told["scan_part"] = [row["_step"] for row in run.scan_history(min_step=3, max_step=40)]
    return told


def expected(told: Told) -> Told:
    """What ours should tell where the official client tells this."""
    return told | {
        # Nested keys come under dotted names, and what was not logged is not there.
        "history": [without_nones(flattened(row)) for row in told["history"]],
        "system": [without_nones(flattened(row)) for row in told["system"]],
        "scan": once_a_step([without_nones(flattened(row)) for row in told["scan"]]),
        # Only rows that have all the keys, whether they came as Parquet or as JSON.
        "scan_keys": once_a_step([row for row in told["scan_keys"] if has_all(row)]),
        "scan_part": list(dict.fromkeys(told["scan_part"])),
    }


def has_all(row: Told) -> bool:
    return all(row.get(key) is not None for key in KEYS)


def once_a_step(rows: list[Told]) -> list[Told]:
    """The official client reads rows twice where it goes over from Parquet to live rows."""
    return list({row["_step"]: row for row in rows}.values())


def without_nones(row: Told) -> Told:
    return {key: value for key, value in row.items() if value is not None}


def is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def same(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)

    # A column of mixed values is JSON text to the official client, and each its value to ours.
    if isinstance(one, str) and one != other:
        return is_json(one) and same(json.loads(one), other)
    return bool(one == other)


@pytest.mark.parametrize("history", ["parquet", "json", "mixed"])
def test_both_clients_tell_the_same(
    store: Store, history: Literal["parquet", "json", "mixed"], tmp_path: Path
) -> None:
    with serve_in_thread(create_app(store, history=history)) as url:
        theirs, mine = official(url, store.local_key, tmp_path), ours(url, store.local_key)
    assert theirs[0] == mine[0]
    assert len(theirs) == len(mine)
    for told, found in zip(theirs[1:], mine[1:], strict=True):
        for name, value in expected(told).items():
            own = found[name]
            if name in ("history", "system", "scan"):
                own = [without_nones(row) for row in own]
            assert same(value, own), (told["id"], name, value, own)
