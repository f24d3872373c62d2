"""A gateway that mixes up files: a link to the Parquet file of a run leads to that of another one.

Both runs have as many rows, with the same keys and steps, and files do not say whose they are.
"""

from __future__ import annotations

import json
import math
import pickle
import re
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from aiowandb import AsyncApi, IncompleteHistoryError, Run, RunsFailedError
from aiowandb.errors import AiowandbWarning
from aiowandb.wire import lenient
from aiowandb_server import RunChanges, Store, create_app, serve_in_thread

pytestmark = pytest.mark.anyio
PROJECT = "local/p"
EXPORT = re.compile(r"/exports/(.+)\.parquet")
_LAST = re.compile(rb'("previousValue": ?)([-.0-9]+)')
KEYS = ["_step", "_runtime", "_timestamp", "loss", "epoch", "lr"]
Rows = list[dict[str, Any]]


def trained(seed: int, start: float, **more: Any) -> Rows:
    return [
        {"_step": i, "_runtime": 1.5 * i, "_timestamp": start + 1.5 * i, "loss": seed + 1 / (i + 2)}
        | more
        for i in range(30)
    ]


HISTORIES = {
    "a": trained(1, 1.7e9),
    "b": trained(2, 1.7e9 + 40),
    # These two have run at the same time, on two machines.
    "c": trained(3, 1.8e9),
    "d": trained(4, 1.8e9 + 0.25),
    # These have no times.
    "e": [{"_step": i, "loss": math.sin(i)} for i in range(20)],
    "f": [{"_step": i, "loss": math.sin(i + 0.5)} for i in range(20)],
    # Nor have these, and one has a key more.
    "g": [{"_step": i, "epoch": i} for i in range(20)],
    "h": [{"_step": i, "epoch": i, "lr": 0.1} for i in range(20)],
    # These have other steps.
    "i": [{"_step": i, "epoch": 1} for i in range(20)],
    "j": [{"_step": 2 * i, "epoch": 1} for i in range(20)],
}
PAIRS = dict(zip(HISTORIES, "badcfehgji", strict=True))
# All that W&B says of the rows of g is true of those of h too.
NOTICED = HISTORIES.keys() - {"g"}


class Mixer:
    """Answers requests for the files of runs with those of others, `times` times each."""

    def __init__(self, store: Store) -> None:
        self.app = create_app(store)
        self.times = 0
        self.invents_numbers = False
        self._owners: dict[str, str] = {}
        self._paths: dict[str, tuple[str, bytes]] = {}
        self._asked: dict[str, Iterator[int]] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and (found := EXPORT.fullmatch(scope["path"])):
            run = self._owners[found[1]]
            if next(self._asked.setdefault(run, count())) < self.times:
                path, query = self._paths[PAIRS[run]]
                scope = scope | {"path": path, "raw_path": path.encode(), "query_string": query}
        await self.app(scope, receive, self._noting(send))

    def start(self, times: int) -> None:
        self.times = times
        self._asked.clear()

    def _noting(self, send: Any) -> Any:
        async def noting(message: Any) -> None:
            if b"parquetUrls" in message.get("body", b""):
                for run in json.loads(message["body"])["data"]["project"].values():
                    for url in run["parquetHistory"]["parquetUrls"]:
                        path, _, query = url.partition("/exports/")[2].partition("?")
                        self._owners[path.removesuffix(".parquet")] = run["name"]
                        self._paths[run["name"]] = f"/exports/{path}", query.encode()
            if self.invents_numbers and "body" in message:
                message = message | {"body": _LAST.sub(_invented, message["body"])}
            await send(message)

        return noting


def _invented(found: re.Match[bytes]) -> bytes:
    """Another number of the same length."""
    return found[1] + re.sub(rb"\d", b"7", found[2])


class Mixed:
    def __init__(self, store: Store, mixer: Mixer, url: str) -> None:
        self.mixer = mixer
        self.key = store.local_key
        self._url = url

    @asynccontextmanager
    async def api(self, times: int) -> AsyncIterator[AsyncApi]:
        """A client that gets the wrong file of each run so many times."""
        async with AsyncApi(self.key, base_url=self._url) as api:
            self.mixer.start(0)
            await api.runs(PROJECT).plan()  # so that there are links to all files
            self.mixer.start(times)
            yield api


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mixed]:
    with Store.open(tmp_path_factory.mktemp("wandb"), crash_after=float("inf")) as store:
        project, _ = store.projects.ensure("local", "p")
        for name, rows in HISTORIES.items():
            run, _ = store.runs.upsert(project, name, RunChanges())
            store.history.append(run, [lenient.dumps(row) for row in rows])
            store.finish(run, exit_code=0)
        mixer = Mixer(store)
        with serve_in_thread(mixer) as url:
            yield Mixed(store, mixer, url)


def by_run(table: pa.Table) -> dict[str, Rows]:
    found: dict[str, Rows] = {}
    for row in table.select(["run_id", *KEYS]).to_pylist():
        values = {key: row[key] for key in KEYS if row[key] is not None}
        found.setdefault(row["run_id"], []).append(values)
    return {run: sorted(rows, key=lambda row: row["_step"]) for run, rows in found.items()}


def only(runs: Collection[str], found: dict[str, Rows]) -> dict[str, Rows]:
    return {run: found[run] for run in runs}


async def test_an_export_reads_rows_as_json_if_files_are_of_other_runs(
    mixed: Mixed, tmp_path: Path
) -> None:
    with pytest.warns(AiowandbWarning, match="not its own") as warned:
        async with mixed.api(times=100) as api:
            result = await api.runs(PROJECT).export(tmp_path)
    assert set(result.read_as_json) == NOTICED
    assert len(warned) == len(NOTICED)
    assert not result.failed
    table = ds.dataset(tmp_path / "history").to_table()
    assert only(NOTICED, by_run(table)) == only(NOTICED, HISTORIES)


async def test_files_are_not_refused_for_what_is_not_true_of_rows_either(
    mixed: Mixed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How W&B finds the last numbers is not documented: it may mean others by it."""
    monkeypatch.setattr(mixed.mixer, "invents_numbers", True)
    async with mixed.api(times=0) as api:
        plan = await api.runs(PROJECT).plan()
        result = await api.runs(PROJECT).export(tmp_path)
    assert (result.failed, result.read_as_json) == ((), ())
    assert by_run(ds.dataset(tmp_path / "history").to_table()) == HISTORIES
    assert plan.rows == sum(map(len, HISTORIES.values()))
    assert all(one.run.facts is None for part in plan.parts(1) for one in part._data.slices)


async def test_an_export_asks_once_whether_what_w_b_says_of_rows_is_true(
    mixed: Mixed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mixed.mixer, "invents_numbers", True)
    async with AsyncApi(mixed.key, base_url=mixed._url) as api:
        with_lies = await api.runs(PROJECT).export(tmp_path / "lies")
        assert (with_lies.failed, with_lies.read_as_json) == ((), ())
        again = await api.runs(PROJECT).export(tmp_path / "again")
    monkeypatch.setattr(mixed.mixer, "invents_numbers", False)
    async with AsyncApi(mixed.key, base_url=mixed._url) as api:
        usual = await api.runs(PROJECT).export(tmp_path / "usual")
    assert again.requests == usual.requests


async def test_new_links_that_lead_to_the_right_files_are_enough(
    mixed: Mixed, tmp_path: Path
) -> None:
    async with mixed.api(times=1) as api:
        result = await api.runs(PROJECT).export(tmp_path)
    assert (result.failed, result.read_as_json) == ((), ())
    table = ds.dataset(tmp_path / "history").to_table()
    assert only(NOTICED, by_run(table)) == only(NOTICED, HISTORIES)


async def rows_of(batches: AsyncIterator[pa.RecordBatch]) -> AsyncIterator[dict[str, Any]]:
    async for batch in batches:
        for row in batch.to_pylist():
            yield row


READERS: dict[str, Callable[[Run], AsyncIterator[dict[str, Any]]]] = {
    "scan_history": lambda run: run.scan_history(),
    "with a key": lambda run: run.scan_history(keys=["loss"]),
    "from a step": lambda run: run.scan_history(min_step=10),
    "scan_history_batches": lambda run: rows_of(run.scan_history_batches()),
}


@pytest.mark.parametrize("reader", READERS)
async def test_readers_of_one_run_get_its_own_rows(mixed: Mixed, reader: str) -> None:
    async with mixed.api(times=100) as api:
        run = await api.run(f"{PROJECT}/a")
        with pytest.warns(AiowandbWarning, match="Run local/p/a: .* not its own: .* times up to"):
            found = [row["loss"] async for row in READERS[reader](run)]
    losses = [row["loss"] for row in HISTORIES["a"]]
    assert found == losses[10 if reader == "from a step" else 0 :]


async def test_a_plan_is_not_read_from_files_of_other_runs(
    mixed: Mixed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", mixed.key)
    async with mixed.api(times=100) as api:
        plan = await api.runs(PROJECT, filters={"name": "a"}).plan()
    part = pickle.loads(pickle.dumps(plan.parts(1)[0]))
    with pytest.raises(IncompleteHistoryError, match="run local/p/a are not .*Make a new plan"):
        list(part.read())
    with pytest.warns(AiowandbWarning, match="Run local/p/a: .* not its own"):
        table = pa.Table.from_batches(part.read(refresh=True))
    assert table.column("loss").to_pylist() == [row["loss"] for row in HISTORIES["a"]]


async def test_a_plan_that_looks_into_files_names_those_of_other_runs(mixed: Mixed) -> None:
    async with mixed.api(times=100) as api:
        with pytest.raises(RunsFailedError, match="run local/p/a are not its own"):
            await api.runs(PROJECT, filters={"name": "a"}).plan(check_files=True)
