"""Runs of a list are read one after another: with shared plans, and the next ones ahead."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from typing import Any

import anyio
import pytest

from aiowandb import Api, AsyncApi, CommError
from aiowandb.history import loops, neighbours
from aiowandb.history.pages import JsonPage, ParquetPage
from aiowandb_server import Store
from tests.history.conftest import PROJECT, Mode, World

pytestmark = pytest.mark.anyio
RUNS, ROWS, PER_PAGE = 24, 6, 8
PAGES = RUNS // PER_PAGE
MODES: list[Mode] = ["parquet", "json"]


@pytest.fixture(autouse=True)
def _on_a_machine_of_any_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "FRESH_SECONDS", 3600.0)


def fill(world: World) -> World:
    for number in range(RUNS):
        rows = [{"_step": i, "loss": number + i / 8, "val": {"acc": i}} for i in range(ROWS)]
        world.add_run(f"r{number}", rows)
    return world


@pytest.fixture(scope="module")
def _store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store.open(tmp_path_factory.mktemp("wandb")) as store:
        fill(World(store))
        yield store


@pytest.fixture
def project(_store: Store) -> World:
    """A project that is only read."""
    return World(_store)


@pytest.fixture
def changing(world: World) -> World:
    """The same for one test alone."""
    return fill(world)


def expected(number: int) -> list[dict[str, Any]]:
    return [{"_step": i, "loss": number + i / 8, "val.acc": i} for i in range(ROWS)]


async def natural(api: AsyncApi) -> AsyncIterator[Any]:
    async for run in api.runs(PROJECT, per_page=PER_PAGE):
        yield run


async def of_list(api: AsyncApi) -> AsyncIterator[Any]:
    for run in await api.runs(PROJECT, per_page=PER_PAGE).to_list():
        yield run


async def of_pages(api: AsyncApi) -> AsyncIterator[Any]:
    async for page in api.runs(PROJECT, per_page=PER_PAGE).pages():
        for run in page:
            yield run


async def by_index(api: AsyncApi) -> AsyncIterator[Any]:
    runs = api.runs(PROJECT, per_page=PER_PAGE)
    for index in range(await runs.count()):
        yield await runs[index]


def number_of(run: Any) -> int:
    return int(run.id.removeprefix("r"))


@pytest.mark.parametrize("history", MODES)
@pytest.mark.parametrize("listed", [natural, of_list, of_pages, by_index])
async def test_a_loop_over_runs_takes_few_requests_a_page(
    project: World, history: Mode, listed: Callable[[AsyncApi], AsyncIterator[Any]]
) -> None:
    async with project.api(history) as api:
        seen = 0
        async for run in listed(api):
            assert [row async for row in run.scan_history()] == expected(number_of(run))
            seen += 1
    assert seen == RUNS
    asked = project.asked
    assert asked["Runs"] == PAGES
    assert asked["HistoryPlans"] == PAGES
    if history == "parquet":
        assert asked["download"] == RUNS
    else:
        # The first two runs, as nobody can know yet that this is a loop, and the rest of their
        # page. Those of the other pages come with the plans, if these pages are listed in time,
        # and a page that an index needs is not.
        each_page = 2 if listed is by_index else 1
        assert 3 <= asked["HistoryPages"] <= 2 + each_page * PAGES


@pytest.mark.parametrize("history", MODES)
def test_without_await_as_well(project: World, history: Mode) -> None:
    transport = project.transport(history)
    key = project.store.local_key
    with Api(key, base_url="http://wandb.test", transport=transport) as api:
        for run in api.runs(PROJECT, per_page=PER_PAGE):
            assert list(run.scan_history()) == expected(number_of(run))
        assert project.asked["HistoryPlans"] == PAGES
        for run in list(api.runs(PROJECT, per_page=PER_PAGE)):
            assert list(run.scan_history()) == expected(number_of(run))
        assert project.asked["HistoryPlans"] == 2 * PAGES
    assert project.asked["Runs"] == PAGES


async def test_a_loop_without_histories_requests_none(project: World) -> None:
    async with project.api() as api:
        async for _ in api.runs(PROJECT, per_page=PER_PAGE):
            pass
        await anyio.wait_all_tasks_blocked()
    assert project.asked == {"Runs": PAGES}


@pytest.mark.parametrize("history", MODES)
@pytest.mark.parametrize(
    "call",
    [
        {"keys": ["loss", "val.*"], "any_key": True},
        *(
            pytest.param(call, marks=pytest.mark.slow)
            for call in (
                {"keys": ["val"]},
                {"min_step": 2, "max_step": 4},
                {"page_size": 2},
                {"exclude": ["loss"], "max_step": 1},
            )
        ),
    ],
)
async def test_the_rows_are_those_of_a_run_that_is_read_alone(
    project: World, history: Mode, call: dict[str, Any]
) -> None:
    async with project.api(history) as api:
        async for run in api.runs(PROJECT, per_page=PER_PAGE):
            alone = await api.run(f"{PROJECT}/{run.id}")
            wanted = [row async for row in alone.scan_history(**call)]
            assert [row async for row in run.scan_history(**call)] == wanted
            batches = [batch async for batch in run.scan_history_batches(**call)]
            assert sum(batch.num_rows for batch in batches) == len(wanted)


@pytest.mark.parametrize("history", MODES)
async def test_two_calls_for_each_run_are_two_loops(project: World, history: Mode) -> None:
    async with project.api(history) as api:
        async for run in api.runs(PROJECT, per_page=PER_PAGE):
            assert len([row async for row in run.scan_history(keys=["loss"])]) == ROWS
            assert len([row async for row in run.scan_history(max_step=2)]) == 2
    # Both plan each page; the first run of the second loop is planned by itself.
    assert project.asked["HistoryPlans"] <= 2 * PAGES + 1


async def test_an_error_is_raised_when_its_run_is_read(project: World) -> None:
    project.fault = lambda _, body: 422 if b"HistoryPages" in body and b'"r13"' in body else None
    failed = []
    async with project.api("json") as api:
        for run in await api.runs(PROJECT, per_page=RUNS).to_list():
            try:
                rows = [row async for row in run.scan_history()]
            except CommError as error:
                failed.append((run.id, error.status))
            else:
                assert rows == expected(number_of(run))
    assert failed == [("r13", 422)]


async def test_a_run_that_was_deleted_is_not_found_when_it_is_read(changing: World) -> None:
    async with changing.api() as api:
        missing = []
        for run in await api.runs(PROJECT, per_page=RUNS).to_list():
            if run.id == "r15":
                await (await api.run(f"{PROJECT}/r10")).delete()
            try:
                assert [row async for row in run.scan_history()] == expected(number_of(run))
            except CommError as error:
                missing.append((run.id, str(error)))
    assert missing == [("r10", f"Could not find run {PROJECT}/r10.")]


@pytest.mark.slow
@pytest.mark.parametrize("history", MODES)
async def test_rows_that_this_client_adds_meanwhile_are_read(
    changing: World, history: Mode
) -> None:
    async with changing.api(history) as api:
        runs = await api.runs(PROJECT, per_page=PER_PAGE).to_list()
        for run, following in zip(runs, [*runs[1:], None], strict=True):
            rows = [row async for row in run.scan_history(keys=["loss"])]
            assert len(rows) == ROWS + (run is not runs[0])
            if following:
                async with following.append() as log:
                    await log({"loss": 1.0})


@pytest.mark.parametrize("history", MODES)
async def test_rows_that_come_under_a_step_that_is_there_are_read_too(
    changing: World, history: Mode
) -> None:
    where = changing.store.projects.get("local", "demo")
    assert where
    async with changing.api(history) as api:
        for number, run in enumerate(await api.runs(PROJECT, per_page=PER_PAGE).to_list()):
            rows = [row async for row in run.scan_history()]
            assert len(rows) == ROWS + (number > 3)
            if number == 3:
                for name in range(RUNS - 4):
                    other = changing.store.runs.get(where, f"r{name}")
                    assert other
                    changing.store.history.append(other, [f'{{"_step": {ROWS - 1}, "loss": 1}}'])
                api.flush()


@pytest.mark.parametrize("history", MODES)
async def test_a_run_that_is_read_again_is_asked_again(changing: World, history: Mode) -> None:
    async with changing.api(history) as api:
        where = changing.store.projects.get("local", "demo")
        assert where
        runs = await api.runs(PROJECT, per_page=PER_PAGE).to_list()
        for number in range(3):
            rows = [row async for row in runs[0].scan_history(keys=["loss"])]
            assert len(rows) == ROWS + number
            run = changing.store.runs.get(where, runs[0].id)
            assert run
            changing.store.history.append(run, [f'{{"_step": {ROWS + number}, "loss": 1}}'])


async def test_only_what_is_read_in_a_row_is_read_ahead(project: World) -> None:
    async with project.api() as api:
        read = 0
        async for run in api.runs(PROJECT, per_page=RUNS):
            if number_of(run) % 4 == 0:
                assert [row async for row in run.scan_history()] == expected(number_of(run))
                read += 1
        await anyio.wait_all_tasks_blocked()
    assert project.asked["download"] == read
    assert project.asked["HistoryPlans"] == 1


async def test_a_loop_that_leaves_out_some_runs_reads_these_in_vain_at_most(project: World) -> None:
    async with project.api() as api:
        async for run in api.runs(PROJECT, per_page=RUNS):
            if number_of(run) % 8:
                assert [row async for row in run.scan_history()] == expected(number_of(run))
    assert project.asked["download"] <= RUNS


async def test_runs_that_are_left_out_again_and_again_are_read_ahead_no_more(
    project: World,
) -> None:
    async with project.api() as api:
        runs = await api.runs(PROJECT, per_page=RUNS).to_list()
        for _ in range(6):
            for run in runs[:2]:  # a loop, as it seems
                assert [row async for row in run.scan_history()]
            assert [row async for row in runs[-1].scan_history()]
            await anyio.wait_all_tasks_blocked()
    assert project.asked["download"] < 6 * 3 + 2 * 16


@pytest.mark.parametrize("history", MODES)
async def test_leaving_the_loop_ends_what_was_read_ahead(project: World, history: Mode) -> None:
    async with project.api(history) as api:
        await api.viewer()
        before = len(anyio.get_running_tasks())
        kept = None
        async for run in api.runs(PROJECT, per_page=PER_PAGE):
            kept = run
            async for _ in run.scan_history():
                break
            if project.asked["Runs"] > 1:
                break
        await no_more_tasks_than(before)
        assert kept is not None  # and with it its page is still there


async def test_leaving_a_loop_without_await_ends_what_was_read_ahead(project: World) -> None:
    transport = project.transport()

    async def tasks() -> int:
        return len(anyio.get_running_tasks())

    def read() -> None:
        key = project.store.local_key
        with Api(key, base_url="http://wandb.test", transport=transport) as api:
            before = api._portal.call(tasks)
            for number, run in enumerate(api.runs(PROJECT, per_page=PER_PAGE)):
                assert list(run.scan_history())
                if number == 3:
                    break
            api._portal.call(no_more_tasks_than, before)

    await anyio.to_thread.run_sync(read)


@pytest.mark.slow
@pytest.mark.parametrize("history", MODES)
async def test_what_is_never_read_is_dropped_after_a_while(
    project: World, history: Mode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbours, "FRESH_SECONDS", 3.0)
    async with project.api(history) as api:
        await api.viewer()
        before = len(anyio.get_running_tasks())
        runs = await api.runs(PROJECT, per_page=PER_PAGE).to_list()
        for run in runs[:2]:
            assert [row async for row in run.scan_history()]
        assert len(anyio.get_running_tasks()) > before
        await no_more_tasks_than(before)
        gc.collect()
        assert not [o for o in gc.get_objects() if isinstance(o, JsonPage | ParquetPage)]
        for run in runs[2:]:
            assert [row async for row in run.scan_history()] == expected(number_of(run))


@pytest.mark.parametrize("history", MODES)
async def test_a_list_of_runs_keeps_no_history(project: World, history: Mode) -> None:
    async with project.api(history) as api:
        runs = await api.runs(PROJECT, per_page=PER_PAGE).to_list()
        for run in runs:
            assert [row async for row in run.scan_history()]
        await anyio.wait_all_tasks_blocked()
        gc.collect()
        kept = [o for o in gc.get_objects() if isinstance(o, JsonPage | ParquetPage)]
        assert not kept


async def test_no_more_bytes_are_read_ahead_than_memory_allows(
    project: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loops, "_BYTES_AHEAD", 0)
    async with project.api() as api:
        for number, run in enumerate(await api.runs(PROJECT, per_page=RUNS).to_list()):
            assert [row async for row in run.scan_history()]
            await anyio.wait_all_tasks_blocked()
            assert project.asked["download"] == number + 1


async def test_a_client_that_was_not_entered_shares_plans_only(project: World) -> None:
    key, transport = project.store.local_key, project.transport()
    api = AsyncApi(key, base_url="http://wandb.test", transport=transport)
    before = len(anyio.get_running_tasks())
    async with aclosing(aiter(api.runs(PROJECT, per_page=RUNS))) as runs:
        async for run in runs:
            assert [row async for row in run.scan_history()] == expected(number_of(run))
            assert len(anyio.get_running_tasks()) <= before
    await api.aclose()
    assert project.asked["HistoryPlans"] == 1


async def no_more_tasks_than(number: int) -> None:
    with anyio.fail_after(60):
        while len(anyio.get_running_tasks()) > number:  # noqa: ASYNC110
            await anyio.sleep(0.005)
