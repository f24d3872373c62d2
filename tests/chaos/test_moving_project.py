"""A project that changes while it is exported: runs come, go and grow between requests."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from random import Random
from typing import Any

import httpx
import orjson
import pytest

from aiowandb import AsyncApi
from aiowandb.api import runs as runs_module
from aiowandb_server import RunChanges, Store, create_app
from tests.chaos.faults import FaultLayer, Message, Receive, Send, Weather
from tests.chaos.world import rows

pytestmark = pytest.mark.anyio


_RUNS, _ROWS = 24, 40


class Moving:
    """The embedded W&B, to whose project something happens before most of the requests."""

    def __init__(self, store: Store, seed: int) -> None:
        self._store = store
        self._app = create_app(store)
        self._chance = Random(seed)
        self._project = store.projects.ensure("local", "moving")[0]
        self._runs: dict[str, Any] = {}
        self._made = 0
        for _ in range(_RUNS):
            self._add()
        self.is_moving = False
        self.untouched = set(self._runs)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if self.is_moving and self._chance.random() < 0.7:
            self._chance.choice([self._add, self._delete, self._grow])()
        await self._app(scope, receive, send)

    def _add(self) -> None:
        self._made += 1
        name = f"run-{self._made:03}"
        changes = RunChanges(created_at=1_750_000_000 + self._made)
        self._runs[name], _ = self._store.runs.upsert(self._project, name, changes)
        self._log(name)

    def _grow(self) -> None:
        name = self._chance.choice(list(self._runs))
        self._log(name)
        self.untouched.discard(name)

    def _delete(self) -> None:
        name = self._chance.choice(list(self._runs))
        self._store.runs.delete(self._runs.pop(name).id)
        self.untouched.discard(name)

    def _log(self, name: str) -> None:
        run = self._store.runs.get(self._project, name)
        assert run
        steps = range(run.history_lines, run.history_lines + _ROWS)
        lines = [orjson.dumps({"_step": i, "_timestamp": i, "loss": 1 / (i + 1)}) for i in steps]
        self._store.history.append(run, [line.decode() for line in lines])


@pytest.mark.parametrize(
    ("seed", "order"),
    [
        (0, "-created_at"),
        *(
            pytest.param(seed, order, marks=pytest.mark.slow)
            for seed, order in product(range(3), ("-created_at", "+created_at", "-heartbeat_at"))
            if (seed, order) != (0, "-created_at")
        ),
    ],
)
async def test_runs_that_stay_are_exported_once_and_completely(
    seed: int, order: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs_module, "RUNS_PER_PAGE", 5)
    with Store.open(tmp_path / "wandb") as store:
        app = Moving(store, seed)
        layer = FaultLayer(app)
        async with AsyncApi(
            store.local_key, base_url="http://wandb.test", transport=httpx.ASGITransport(layer)
        ) as api:
            runs = api.runs("local/moving", order=order)
            app.is_moving = True
            layer.weather = Weather(seed, ("run_twice",), rate=0.5)
            first = await runs.export(tmp_path / "out", on_deleted="drop")
            assert layer.weather.happened
            app.is_moving, layer.weather = False, Weather()
            found = rows(tmp_path / "out")
            for name, steps in found.items():
                assert len(set(steps)) == len(steps), name
            for name in app.untouched & found.keys():
                assert len(found[name]) == _ROWS

            second = await runs.export(tmp_path / "out", on_deleted="drop")
            assert second.failed == ()
            await runs.export(tmp_path / "fresh", on_deleted="drop")
    assert rows(tmp_path / "out") == rows(tmp_path / "fresh")
    # What failed at first was gone by then.
    assert {failure.run for failure in first.failed}.isdisjoint(app.untouched)
