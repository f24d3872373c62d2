"""A list of runs is left, and continued later from its cursor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from aiowandb import Api, AsyncApi, UsageError
from aiowandb.api import Runs
from aiowandb.errors import AiowandbError
from aiowandb_server import RunChanges, Store

pytestmark = pytest.mark.anyio
PATH = "local/long"
OLDEST_FIRST = "+created_at"


class World:
    def __init__(self, folder: Path, store: Store) -> None:
        self.folder = folder
        self.store = store
        self.project = store.projects.ensure("local", "long")[0]
        self.count = 0
        self.grow(7)

    def grow(self, runs: int) -> None:
        for _ in range(runs):
            self.store.runs.upsert(self.project, f"r{self.count}", RunChanges())
            self.count += 1


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with Store.open(tmp_path) as store:
        yield World(tmp_path, store)


async def ids(runs: Runs) -> list[str]:
    return [run.id for run in await runs.to_list()]


async def first_page(runs: Runs) -> list[str]:
    async with aclosing(runs.pages()) as pages:
        return [run.id for run in await anext(aiter(pages))]


async def test_another_client_continues_after_the_last_page_that_was_read(world: World) -> None:
    async with AsyncApi.local(world.folder) as api:
        runs = api.runs(PATH, order=OLDEST_FIRST, per_page=3)
        assert runs.cursor is None
        assert await first_page(runs) == ["r0", "r1", "r2"]
        saved = runs.cursor
    async with AsyncApi.local(world.folder) as api:
        rest = api.runs(PATH, order=OLDEST_FIRST, per_page=3, start=saved)
        assert rest.cursor == saved
        assert await first_page(rest) == ["r3", "r4", "r5"]
        project = await api.project(PATH)
        assert await ids(project.runs(order=OLDEST_FIRST, start=rest.cursor)) == ["r6"]


async def test_the_cursor_after_the_last_page_finds_what_is_new(world: World) -> None:
    async with AsyncApi.local(world.folder) as api:
        runs = api.runs(PATH, order=OLDEST_FIRST, per_page=3)
        assert len(await ids(runs)) == 7
        later = api.runs(PATH, order=OLDEST_FIRST, start=runs.cursor, fresh=True)
        assert await ids(later) == []
        assert later.cursor == runs.cursor
        world.grow(2)
        assert await ids(later) == ["r7", "r8"]
        assert later.cursor != runs.cursor


async def test_runs_that_come_and_go_do_not_move_the_cursor(world: World) -> None:
    async with AsyncApi.local(world.folder) as api:
        runs = api.runs(PATH, per_page=2)  # newest first
        assert await first_page(runs) == ["r6", "r5"]
        world.grow(1)
        last_read = world.store.runs.get(world.project, "r5")
        assert last_read
        world.store.runs.delete(last_read.id)
        rest = api.runs(PATH, start=runs.cursor)
        assert await ids(rest) == ["r4", "r3", "r2", "r1", "r0"]


async def test_pages_read_ahead_do_not_move_the_cursor(world: World) -> None:
    async with AsyncApi.local(world.folder) as api:
        runs = api.runs(PATH, order=OLDEST_FIRST, per_page=1)
        seen = []
        async for page in runs.pages():
            seen.append(page[0].id)
            following = api.runs(PATH, order=OLDEST_FIRST, start=runs.cursor)
            assert await ids(following) == [f"r{n}" for n in range(len(seen), 7)]
        assert len(seen) == 7


async def test_the_rest_of_a_list_is_counted_indexed_and_a_table(world: World) -> None:
    async with AsyncApi.local(world.folder) as api:
        runs = api.runs(PATH, order=OLDEST_FIRST, per_page=3)
        await first_page(runs)
        rest = api.runs(PATH, order=OLDEST_FIRST, start=runs.cursor)
        assert await rest.count() == 4
        assert (await rest[-1]).id == "r6"
        assert [run.id for run in await rest[:2]] == ["r3", "r4"]
        assert (await rest.to_arrow())["run_id"].to_pylist() == ["r3", "r4", "r5", "r6"]


def test_the_facade_continues_too(world: World) -> None:
    with Api.local(world.folder) as api:
        runs = api.runs(PATH, order=OLDEST_FIRST, per_page=3)
        for run in runs:
            assert run.id == "r0"
            break
        rest = api.runs(PATH, order=OLDEST_FIRST, start=runs.cursor)
        assert [run.id for run in rest] == ["r3", "r4", "r5", "r6"]
        assert len(rest) == 4


@pytest.mark.parametrize(
    ("name", "call"),
    {
        "export": lambda runs: runs.export("out"),
        "plan": lambda runs: runs.plan(),
        "stream_parts": lambda runs: runs.stream_parts(),
        "copy_to": lambda runs: runs.copy_to("local/other"),
    }.items(),
)
async def test_what_takes_all_runs_refuses_the_rest_of_a_list(
    world: World, name: str, call: Callable[[Runs], Any]
) -> None:
    async with AsyncApi.local(world.folder) as api:
        runs = api.runs(PATH)
        await runs.to_list()
        with pytest.raises(UsageError, match=rf"^{name}\(\) takes all runs"):
            await call(api.runs(PATH, start=runs.cursor))
        assert not Path("out").exists()


async def test_a_cursor_that_is_none_is_an_error_of_w_and_b(world: World) -> None:
    async with AsyncApi.local(world.folder) as api:
        with pytest.raises(AiowandbError, match="'nonsense' is not a cursor"):
            await ids(api.runs(PATH, start="nonsense"))
