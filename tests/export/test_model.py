"""Whatever happens to runs between exports, a folder has what W&B has, or reports a failure."""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import httpx
import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from aiowandb import AsyncApi, CommError
from aiowandb.export import ExportResult
from aiowandb.net.retry import RetryPolicy
from aiowandb_server import Store, create_app
from tests.export.conftest import Project

Layout = dict[str, Any]
LAYOUTS: dict[str, Layout] = {
    "parquet": {},
    "keys": {"keys": ["loss"]},
    "csv": {"format": "csv"},
    "long": {"layout": "long", "format": "jsonl"},
    "split": {"split": "run"},
    "arrow": {"format": "arrow", "exclude": ["_timestamp"]},
}
# The rows of a run: which loss was logged at which step.
Losses = dict[int, float]
NAMES = st.sampled_from(["a", "b", "c", "d"])
ROWS = st.integers(1, 40)


class Weather(httpx.AsyncBaseTransport):
    """The embedded W&B, which may answer with too few rows, with too many, or not at all."""

    def __init__(self, store: Store, history: Any) -> None:
        self._inner = httpx.ASGITransport(create_app(store, history=history))
        self.change: Callable[[list[Any]], list[Any]] = list
        self.answers_left = math.inf

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.answers_left -= 1
        if self.answers_left < 0:
            raise httpx.ConnectError("connection refused", request=request)
        response = await self._inner.handle_async_request(request)
        if request.method != "POST":
            return response
        answer = orjson.loads(await response.aread())
        for run in (answer["data"].get("project") or {}).values():
            if isinstance(run, dict) and run.get("history"):
                run["history"] = self.change(run["history"])
        return httpx.Response(200, stream=httpx.ByteStream(orjson.dumps(answer)))


class Exports(RuleBasedStateMachine):
    """A project, what is known of it, and a folder of each layout."""

    def __init__(self) -> None:
        super().__init__()
        self.cleanup = ExitStack()
        self.folder = Path(tempfile.mkdtemp())
        self.cleanup.callback(shutil.rmtree, self.folder)
        seconds = count(1_760_000_000)
        self.store = self.cleanup.enter_context(
            Store.open(
                self.folder / "wandb",
                clock=lambda: float(next(seconds)),
                crash_after=math.inf,
            )
        )
        self.project = Project(self.store)
        self.there: dict[str, Losses] = {}
        # What each run had in the last export that had all of its rows.
        self.past: dict[str, list[Losses]] = {}
        self.exported: dict[str, dict[str, Losses]] = {name: {} for name in LAYOUTS}
        self.number = count()

    @initialize(history=st.sampled_from(["parquet", "json", "mixed"]))
    def start(self, history: str) -> None:
        self.weather = Weather(self.store, history)

    def teardown(self) -> None:
        self.cleanup.close()

    @rule(name=NAMES, rows=ROWS, finish=st.booleans())
    def log(self, name: str, rows: int, finish: bool) -> None:
        """A script logs to a run, new or not."""
        losses = self.there.setdefault(name, {})
        first = max(losses, default=-1) + 1
        self.post(name, {first + i: float(next(self.number)) for i in range(rows)}, finish)

    @rule(name=NAMES, part=st.floats(0, 1), rows=ROWS, same_end=st.booleans(), finish=st.booleans())
    def rewind(self, name: str, part: float, rows: int, same_end: bool, finish: bool) -> None:
        """A run is rewound, and goes on differently."""
        losses = self.there.get(name)
        if not losses:
            return
        last = max(losses)
        kept = int(last * part)
        self.project.rewind(name, kept)
        self.there[name] = {step: loss for step, loss in losses.items() if step <= kept}
        end = last + 1 if same_end else kept + 1 + rows
        self.post(name, {step: float(next(self.number)) for step in range(kept + 1, end)}, finish)

    @rule(name=NAMES)
    def rename(self, name: str) -> None:
        if name in self.there:
            self.project.rename(name, f"{name} {next(self.number)}")

    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        if self.there.pop(name, None) is not None:
            self.project.delete(name)

    @rule(layout=st.sampled_from(sorted(LAYOUTS)))
    def export(self, layout: str) -> None:
        self.check(layout, self.run_export(layout))

    @rule(layout=st.sampled_from(sorted(LAYOUTS)), doubly=st.booleans())
    def export_in_bad_weather(self, layout: str, doubly: bool) -> None:
        """Rows are missing in the answers, or come twice."""
        self.weather.change = (lambda rows: rows * 2) if doubly else (lambda rows: rows[:-1])
        try:
            result = self.run_export(layout)
        finally:
            self.weather.change = list
        self.check(layout, result)

    @rule(layout=st.sampled_from(sorted(LAYOUTS)), answers=st.integers(0, 12))
    def export_until_the_server_goes(self, layout: str, answers: int) -> None:
        self.weather.answers_left = answers
        try:
            result = self.run_export(layout)
        except CommError:
            return
        finally:
            self.weather.answers_left = math.inf
        self.check(layout, result)

    def post(self, name: str, losses: Losses, finish: bool) -> None:
        rows = [{"_step": s, "_timestamp": 1e9 + v, "loss": v} for s, v in losses.items()]
        self.project.post(name, len(self.there[name]), rows, finish=finish)
        self.there[name] |= losses
        self.past.setdefault(name, [{}]).append(self.there[name].copy())

    def run_export(self, layout: str) -> ExportResult:
        async def export() -> ExportResult:
            url = "http://wandb.in-process"
            api = AsyncApi(
                self.store.local_key,
                base_url=url,
                transport=self.weather,
                # Failures count, not seconds: on a busy machine, a file takes some.
                retry=RetryPolicy(random=lambda: 0.0, max_failures=3),
            )
            async with api:
                runs = api.runs(Project.path, order="+created_at")
                return await runs.export(self.folder / layout, **LAYOUTS[layout])

        return anyio.run(export)

    def check(self, layout: str, result: ExportResult) -> None:
        found = rows_in(self.folder / layout, LAYOUTS[layout])
        failed = {failure.run for failure in result.failed}
        before = self.exported[layout]
        for run, losses in self.there.items():
            if run not in failed:
                assert found.get(run, {}) == losses
                before[run] = losses.copy()
        for run in before.keys() - self.there.keys():
            # It was deleted. What is left of it are rows that it once had, all of them.
            assert found.get(run, {}) in self.past[run]
            assert found.get(run) or not before[run]
        # Exports that were cut short may have had runs that were deleted before the next one.
        names = runs_in(self.folder / layout, LAYOUTS[layout])
        assert {run: names[run] for run in self.there} == {
            run: (self.project.run(run).display_name, False) for run in self.there
        }
        gone = names.keys() - self.there.keys()
        assert gone >= before.keys() - self.there.keys()
        assert gone == set(result.deleted)
        assert all(names[run][1] for run in gone)
        assert found.keys() <= names.keys()


def rows_in(folder: Path, layout: Layout) -> dict[str, Losses]:
    """The losses of each run in a folder; an error if a row is there twice."""
    form = layout.get("format", "parquet")
    if form == "parquet":
        table = pq.read_table(folder / "history").to_pandas()
    elif form == "arrow":
        table = pa.ipc.open_file(str(folder / "history.arrow")).read_all().to_pandas()
    elif form == "csv":
        table = pd.read_csv(folder / "history.csv")
    else:
        lines = (folder / "history.jsonl").read_text().splitlines()
        table = pd.DataFrame(
            list(map(json.loads, lines)), columns=["run_id", "_step", "key", "value"]
        )
        table = table[table["key"] == "loss"].rename(columns={"value": "loss"})
    if "loss" not in table:
        table["loss"] = math.nan
    found: dict[str, Losses] = {}
    for run, step, loss in table[["run_id", "_step", "loss"]].itertuples(index=False):
        assert step not in found.setdefault(run, {})
        found[run][step] = loss
    return found


def runs_in(folder: Path, layout: Layout) -> Mapping[str, tuple[str, bool]]:
    """The names of the runs, and whether they were deleted."""
    form = layout.get("format", "parquet")
    if form == "csv":
        table = pd.read_csv(folder / "runs.csv", na_values=[])
    elif form == "jsonl":
        lines = (folder / "runs.jsonl").read_text().splitlines()
        table = pd.DataFrame(list(map(json.loads, lines)))
    elif form == "arrow":
        table = pa.ipc.open_file(str(folder / "runs.arrow")).read_all().to_pandas()
    else:
        table = pd.read_parquet(folder / "runs.parquet")
    if table.empty:
        return {}
    return {row.run_id: (row.name, bool(row.deleted)) for row in table.itertuples(index=False)}


def test_after_each_export_the_folder_has_what_wandb_has() -> None:
    run_state_machine_as_test(Exports, settings=settings(max_examples=8, stateful_step_count=20))


@pytest.mark.slow
def test_after_each_of_many_exports_the_folder_has_what_wandb_has() -> None:
    run_state_machine_as_test(Exports, settings=settings(max_examples=100, stateful_step_count=30))
