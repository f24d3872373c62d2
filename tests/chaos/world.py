"""A project, its server with faults, and an undisturbed export of it to compare with."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import orjson
import pyarrow.parquet as pq
import pytest

from aiowandb_server import RunChanges, Store, build_sample, create_app, serve_in_thread
from aiowandb_server.store import segments
from tests.chaos.faults import FaultLayer, Weather
from tests.chaos.wire_faults import forger_to
from tests.support.proxy import Proxy, proxy_to

PATH = "local/sample"
Rows = dict[str, list[str]]


class World:
    """The embedded W&B behind a fault layer, behind two proxies: one for W&B, one elsewhere."""

    def __init__(self, store: Store, layer: FaultLayer, near: Proxy, far: Proxy) -> None:
        self.store = store
        self.key = store.local_key
        self.layer = layer
        self.near = near
        self.far = far

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.near.port}"

    def clear_up(self) -> None:
        """Let the sun shine."""
        self.layer.weather = Weather()
        self.near.fate = self.far.fate = lambda: None


@contextmanager
def opened_world(folder: Path, history: Any) -> Iterator[World]:
    with ExitStack() as stack:
        store = stack.enter_context(Store.open(folder, crash_after=float("inf")))
        _fill(store)
        layer = FaultLayer(create_app(store, history=history))
        url = stack.enter_context(serve_in_thread(layer))
        port = urlsplit(url).port
        assert port
        forger = stack.enter_context(forger_to(port, lambda: layer.weather))
        near, far = (stack.enter_context(proxy_to(target)) for target in (forger.port, port))
        yield World(store, layer, near, far)


def _fill(store: Store) -> None:
    """The same project whenever and wherever: what is asked about it decides on its faults, and
    in that are the times of runs, as cursors, and the names of files."""
    with pytest.MonkeyPatch.context() as patch:
        chance = Random("names of files")
        names = SimpleNamespace(token_hex=lambda size: chance.randbytes(size).hex())
        patch.setattr(segments, "secrets", names)
        build_sample(store, runs=7, rows=120, now=1_790_000_000)
    _add_long_run(store)


def _add_long_run(store: Store) -> None:
    """A live run whose rows need several windows."""
    project = store.projects.get(*PATH.split("/"))
    assert project
    run, _ = store.runs.upsert(project, "long", RunChanges(created_at=1_900_000_000))
    rows = [{"_step": 3 * i, "_timestamp": 1.9e9 + i, "loss": 1 / (i + 1)} for i in range(2500)]
    store.history.append(run, [orjson.dumps(row).decode() for row in rows])


def files(folder: Path) -> dict[str, bytes]:
    """What a user finds in the folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not _is_ours(path)
    }


def leftovers(folder: Path) -> set[str]:
    """The names in the folder that are no user's: what an export keeps to go on with."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and _is_ours(path)
    }


def _is_ours(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def rows(folder: Path) -> Rows:
    """Every row of every run, in its order; missing values left out."""
    found: Rows = {}
    for row in _all_rows(folder):
        run = row.pop("run_id")
        values = sorted((key, value) for key, value in row.items() if value not in (None, ""))
        found.setdefault(run, []).append(repr(values))
    return found


def _all_rows(folder: Path) -> Iterator[dict[str, Any]]:
    if (folder / "history.csv").exists():
        with (folder / "history.csv").open(newline="") as file:
            yield from csv.DictReader(file)
    elif (folder / "history").exists():
        yield from pq.read_table(folder / "history").to_pylist()
