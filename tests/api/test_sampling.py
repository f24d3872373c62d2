"""Samples of many runs come in few requests, whether they are asked for at once or in a loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from aiowandb import AsyncApi, CommError, Run
from aiowandb.api import sampling
from aiowandb.history import neighbours
from aiowandb_server import Store
from tests.history.conftest import PROJECT, World

pytestmark = pytest.mark.anyio
RUNS, ROWS, PER_PAGE = 12, 5, 4
PAGES = RUNS // PER_PAGE
CALLS: list[dict[str, Any]] = [
    {},
    {"samples": 3},
    {"keys": ["loss"]},
    {"keys": ["val"], "x_axis": "epoch"},
    {"keys": ["lo*", "val.acc"]},
    {"stream": "system"},
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store.open(tmp_path_factory.mktemp("wandb")) as store:
        world = World(store)
        for number in range(RUNS):
            rows = [
                {"_step": i, "epoch": i // 2, "loss": number + i / 8, "val": {"acc": i, "f1": 1}}
                for i in range(ROWS)
            ]
            world.add_run(f"r{number}", rows)
        yield store


@pytest.fixture(autouse=True)
def _on_a_machine_of_any_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "FRESH_SECONDS", 3600.0)


@pytest.fixture
def world(store: Store) -> World:
    return World(store)


async def alone(api: AsyncApi, name: str, call: dict[str, Any]) -> list[dict[str, Any]]:
    run = await api.run(f"{PROJECT}/{name}", fresh=True)
    return await run.history(**call, pandas=False, fresh=True)


@pytest.mark.parametrize("fresh", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("call", CALLS)
async def test_histories_of_a_page_come_in_one_answer(
    world: World, call: dict[str, Any], fresh: bool
) -> None:
    async with world.api() as api:
        runs = api.runs(PROJECT, per_page=PER_PAGE, fresh=fresh)
        found = await runs.histories(**call)
        assert sum(world.asked.values()) == 2 * PAGES
        wanted = [
            row | {"run_id": run.id}
            for run in await runs.to_list()
            for row in await alone(api, run.id, call)
        ]
    assert found == wanted


async def test_histories_that_were_asked_for_are_cached_unless_they_must_be_fresh(
    world: World,
) -> None:
    async with world.api() as api:
        runs = api.runs(PROJECT, per_page=PER_PAGE)
        await runs.histories()
        asked = dict(world.asked)
        await runs.histories()
        run = await runs[5]
        await run.history(pandas=False)
        assert world.asked == asked
        api.flush()
        await runs.histories()
        assert world.asked == {name: 2 * number for name, number in asked.items()}


async def test_samples_that_do_not_fit_into_one_answer_come_in_several(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling, "_ANSWER_BYTES", 1)
    async with world.api() as api:
        found = await api.runs(PROJECT, per_page=PER_PAGE).histories()
    assert len(found) == RUNS * ROWS
    assert world.asked["HistorySamples"] == RUNS


async def test_a_run_that_cannot_be_sampled_is_the_error(world: World) -> None:
    world.fault = lambda _, body: 422 if b'"r7"' in body else None
    async with world.api() as api:
        with pytest.raises(CommError) as caught:
            await api.runs(PROJECT, per_page=PER_PAGE).histories()
    assert caught.value.status == 422


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("entered", [True, pytest.param(False, marks=pytest.mark.slow)])
async def test_samples_in_a_loop_come_with_those_of_the_next_runs(
    world: World, call: dict[str, Any], entered: bool
) -> None:
    async with world.api() as other:
        api = other
        if not entered:
            transport = world.transport()
            api = AsyncApi(world.store.local_key, base_url="http://wandb.test", transport=transport)
        found = {}
        for run in await api.runs(PROJECT, per_page=PER_PAGE).to_list():
            found[run.id] = await run.history(**call, pandas=False)
        # The first run, as nobody can know yet that this is a loop, and all others.
        assert sum(world.asked.values()) == PAGES + 2
        assert found == {name: await alone(other, name, call) for name in found}
        if not entered:
            await api.aclose()


async def test_fresh_samples_are_asked_for_one_by_one(world: World) -> None:
    async with world.api() as api:
        async for run in api.runs(PROJECT, per_page=PER_PAGE):
            await run.history(pandas=False, fresh=True)
    assert world.asked["RunFullHistory"] == RUNS


async def test_an_error_in_a_loop_is_raised_for_its_run(world: World) -> None:
    world.fault = lambda _, body: 422 if b'"r7"' in body else None
    failed = []
    async with world.api() as api:
        async for run in api.runs(PROJECT, per_page=PER_PAGE):
            try:
                await run.history(pandas=False)
            except CommError as error:
                failed.append((run.id, error.status))
    assert failed == [("r7", 422)]


async def test_samples_that_tasks_ask_for_are_asked_for_once(world: World) -> None:
    async def sample(run: Run) -> None:
        await run.history(pandas=False)

    async with world.api() as api:
        runs = await api.runs(PROJECT, per_page=RUNS).to_list()
        async with anyio.create_task_group() as tasks:
            for run in runs:
                tasks.start_soon(sample, run)
    assert world.asked["RunFullHistory"] + world.asked["HistorySamples"] <= RUNS


async def test_samples_that_were_expected_are_not_used_when_they_are_outdated(
    tmp_path: Path, new_folder: Callable[[Path], Path]
) -> None:
    with Store.open(new_folder(tmp_path / "wandb")) as store:
        world = World(store)
        for number in range(6):
            world.add_run(f"r{number}", [{"_step": 0, "loss": 1.0}])
        async with world.api() as api:
            runs = await api.runs(PROJECT).to_list()
            for run, following in zip(runs, [*runs[1:], None], strict=True):
                rows = await run.history(pandas=False)
                assert len(rows) == 1 + (run is not runs[0])
                if following:
                    async with following.append() as log:
                        await log({"loss": 1.0})
