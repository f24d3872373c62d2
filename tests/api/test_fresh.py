"""Lists are cached unless they are made with `fresh`, which requests them each time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aiowandb import Api, AsyncApi
from aiowandb_server import RunChanges, Store
from aiowandb_server.store.sweeps import SweepChanges
from tests.support.artifacts import log_artifact

pytestmark = pytest.mark.anyio
PATH = "local/lists"


class World:
    """A project in which each thing is added to by and by."""

    def __init__(self, folder: Path, store: Store) -> None:
        self.folder = folder
        self.store = store
        self.project = store.projects.ensure("local", "lists")[0]
        config = "{method: grid, metric: {name: loss}, parameters: {lr: {values: [1, 2]}}}"
        self._sweep = SweepChanges(config=config)
        self.sweep = store.sweeps.create(self.project, self._sweep).name
        self._made = 0
        self.grow()

    def grow(self) -> None:
        """One more of everything; the newest run is the best."""
        self._made += 1
        made = RunChanges(summary=f'{{"loss": {-self._made}}}', sweep=self.sweep)
        self.store.runs.upsert(self.project, f"r{self._made}", made)
        first = self.store.runs.get(self.project, "r1")
        assert first
        self.store.files.add(first, f"{self._made}.txt", b"text")
        log_artifact(self.store, first, "model", {"w.bin": bytes([self._made])}, kind="model")
        self.store.sweeps.create(self.project, self._sweep)
        self.store.projects.ensure("local", f"more-{self._made}")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with Store.open(tmp_path) as store:
        yield World(tmp_path, store)


Make = Callable[..., Any]


async def lists(api: AsyncApi) -> dict[str, Make]:
    """Every public list, as a function of `fresh`."""
    run, project = await api.run(f"{PATH}/r1"), await api.project(PATH)
    return {
        "runs": lambda **fresh: api.runs(PATH, **fresh),
        "runs of a project": project.runs,
        "projects": api.projects,
        "sweeps": project.sweeps,
        "versions": lambda **fresh: api.artifacts("model", f"{PATH}/model", **fresh),
        "files": run.files,
        "logged artifacts": run.logged_artifacts,
    }


async def test_only_a_fresh_list_sees_what_has_come_since(world: World) -> None:
    async with AsyncApi.local(world.folder) as api:
        before, kept, fresh = {}, {}, {}
        for name, make in (await lists(api)).items():
            kept[name], fresh[name] = make(), make(fresh=True)
            before[name] = len(await kept[name].to_list())
            assert before[name] == len(await fresh[name].to_list())
        world.grow()
        for name, count in before.items():
            assert len(await kept[name].to_list()) == count, name
            assert len([item async for item in fresh[name]]) == count + 1, name
            assert len(await fresh[name].to_list()) == await fresh[name].count() == count + 1
            assert await fresh[name][count], name
        api.flush()
        for name, count in before.items():
            assert len(await kept[name].to_list()) == count + 1, name


async def test_the_best_run_of_a_sweep_is_requested_again_with_fresh(world: World) -> None:
    async with AsyncApi.local(world.folder) as api:
        sweep = await api.sweep(f"{PATH}/{world.sweep}")
        for expected, fresh in (("r1", False), ("r1", True)):
            best = await sweep.best_run(fresh=fresh)
            assert best
            assert best.id == expected
        world.grow()
        old, new = await sweep.best_run(), await sweep.best_run(fresh=True)
        assert old
        assert new
        assert (old.id, new.id) == ("r1", "r2")


def test_without_await_the_same(world: World) -> None:
    with Api.local(world.folder) as api:
        kept, fresh = api.runs(PATH), api.runs(PATH, fresh=True)
        assert (len(kept), len(fresh), len(list(kept)), len(list(fresh))) == (1, 1, 1, 1)
        world.grow()
        assert (len(kept), len(fresh), len(list(kept)), len(list(fresh))) == (1, 2, 1, 2)


async def test_only_fresh_sends_the_request_again(world: World) -> None:
    async with AsyncApi.local(world.folder) as api:
        run = await api.run(f"{PATH}/r1")
        async with run.append(state="finished") as log:
            await log({"loss": 1})
        calls: dict[str, Make] = {
            "run": lambda **fresh: api.run(f"{PATH}/r1", **fresh),
            "sweep": lambda **fresh: api.sweep(f"{PATH}/{world.sweep}", **fresh),
            "project": lambda **fresh: api.project(PATH, **fresh),
            "artifact": lambda **fresh: api.artifact(f"{PATH}/model:latest", **fresh),
            "history": lambda **fresh: run.history(pandas=False, **fresh),
            "history of keys": lambda **fresh: run.history(keys=["loss"], pandas=False, **fresh),
        }
        for name, call in calls.items():
            await call()
            sent = api.traffic.requests
            await call()
            assert api.traffic.requests == sent, name
            await call(fresh=True)
            assert api.traffic.requests > sent, name
