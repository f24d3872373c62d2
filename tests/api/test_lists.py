"""Runs as a list, as a table and as typed rows; and caching of responses."""

from __future__ import annotations

from pathlib import Path

import anyio
import duckdb
import httpx
import msgspec
import pandas as pd
import polars as pl
import pytest

from aiowandb import Api, AsyncApi, RowError, ServerError, UsageError
from aiowandb_server import Store, create_app
from tests.support.in_process import client_of
from tests.support.sample import ROWS, RUNS, Sample

pytestmark = pytest.mark.anyio


class Metrics(msgspec.Struct):
    step: int = msgspec.field(name="_step")
    loss: float = msgspec.field(name="train/loss")
    accuracy: float | None = msgspec.field(name="val.acc", default=None)


class Wrong(msgspec.Struct):
    phase: int


async def test_runs_are_found_by_index_and_slice(api: AsyncApi, sample: Sample) -> None:
    runs = api.runs(sample.path, per_page=2)
    ids = [run.id for run in await runs.to_list()]
    assert (await runs[0]).id == ids[0]
    assert (await runs[5]).id == ids[5]
    assert (await runs[-1]).id == ids[-1]
    assert [run.id for run in await runs[1:6:2]] == ids[1:6:2]
    assert [run.id for run in await runs[-2:]] == ids[-2:]
    for wanted in (slice(None, None, -1), slice(3, None, -1), slice(-2, None, -2), slice(1, -1)):
        assert [run.id for run in await runs[wanted]] == ids[wanted]
    assert await runs[3:3] == []
    for beyond in (RUNS, -RUNS - 1):
        with pytest.raises(
            IndexError, match=f"index {beyond} is out of range: the list has {RUNS} items"
        ):
            await runs[beyond]


async def test_what_is_changed_in_a_run_of_an_index_is_sent(tmp_path: Path) -> None:
    async with AsyncApi.local(tmp_path) as api:
        for _ in range(3):
            await api.create_run(entity="local", project="demo")
        runs = api.runs("local/demo", per_page=2)
        (await runs[0]).config["lr"] = 0.1
        (await runs[2]).tags.append("best")
        await (await runs[0]).update()  # so that the list is requested again
        await (await runs[2:])[0].update()
        changed = [run async for run in api.runs("local/demo")]
    assert [dict(run.config) for run in changed] == [{"lr": 0.1}, {}, {}]
    assert [run.tags for run in changed] == [[], [], ["best"]]


async def test_the_run_of_an_index_has_what_others_have_changed(tmp_path: Path) -> None:
    async with AsyncApi.local(tmp_path) as api, AsyncApi.local(tmp_path) as other:
        theirs = await other.create_run(entity="local", project="demo")
        runs = api.runs("local/demo")
        run = await runs[0]
        theirs.tags = ["new"]
        await theirs.update()
        assert (await runs[0]).tags == []  # cached
        api.flush()
        assert await runs[0] is run
        assert run.tags == ["new"]
        await run.delete()
        assert await runs.to_list() == []
        with pytest.raises(IndexError):
            await runs[0]


async def test_a_table_of_runs_is_read_by_other_libraries(api: AsyncApi, sample: Sample) -> None:
    runs = api.runs(sample.path)
    table = await runs.to_arrow()
    assert table.num_rows == RUNS
    assert {"name", "config.lr", "config.model.name", "summary.val.loss"} <= set(table.column_names)
    names = table["name"].to_pylist()
    pandas, polars = await runs.to_pandas(), await runs.to_polars()
    assert isinstance(pandas, pd.DataFrame)
    assert isinstance(polars, pl.DataFrame)
    assert pandas["name"].tolist() == polars["name"].to_list() == names
    with duckdb.connect() as connection:
        assert connection.from_arrow(table).count("name").fetchall() == [(RUNS,)]


def test_the_facade_is_a_table_and_a_list(sample: Sample) -> None:
    with Api.local(sample.folder) as api:
        runs = api.runs(sample.path)
        assert len(runs) == RUNS
        assert runs[0].id == runs[0:2][0].id
        assert pl.DataFrame(runs).height == RUNS
        with duckdb.connect() as connection:
            assert connection.from_arrow(runs).count("name").fetchall() == [(RUNS,)]


async def test_rows_come_as_the_type_that_is_asked_for(api: AsyncApi, sample: Sample) -> None:
    run = await api.runs(sample.path, {"state": "finished"})[0]
    rows = [row async for row in run.scan_history(type=Metrics)]
    assert len(rows) == ROWS
    assert all(isinstance(row, Metrics) for row in rows)
    assert any(row.accuracy is not None for row in rows)


async def test_a_row_that_does_not_fit_is_an_error_with_its_step(
    api: AsyncApi, sample: Sample
) -> None:
    run = await api.runs(sample.path, {"state": "finished"})[0]
    with pytest.raises(RowError, match=r"step 0: 'phase' is 'warmup': Expected `int`") as caught:
        [row async for row in run.scan_history(type=Wrong)]
    assert (caught.value.step, caught.value.key, caught.value.value) == (0, "phase", "warmup")


async def test_a_history_is_a_frame_where_pandas_is(api: AsyncApi, sample: Sample) -> None:
    run = await api.runs(sample.path, {"state": "finished"})[0]
    frame = await run.history(samples=10)
    assert isinstance(frame, pd.DataFrame)
    assert len(frame) == 10
    assert "val.acc" in frame.columns or "train/loss" in frame.columns


async def test_samples_of_many_runs_come_together(api: AsyncApi, sample: Sample) -> None:
    runs = api.runs(sample.path)
    rows = await runs.histories(samples=4, keys=["train/loss"])
    assert [row["run_id"] for row in rows[::4]] == [run.id async for run in runs]
    assert all(row.keys() == {"_step", "train/loss", "run_id"} for row in rows)
    pandas = await runs.histories(samples=4, keys=["train/loss"], format="pandas")
    polars = await runs.histories(samples=4, keys=["train/loss"], format="polars")
    assert isinstance(pandas, pd.DataFrame)
    assert isinstance(polars, pl.DataFrame)
    assert list(pandas.columns) == polars.columns == ["_step", "run_id", "train/loss"]
    assert len(pandas) == polars.height == len(rows)
    with pytest.raises(UsageError, match="format must be one of default, .*not 'csv'"):
        await runs.histories(format="csv")  # type: ignore[call-overload]
    assert len(await api.runs(sample.path, {"name": "none"}).histories(format="polars")) == 0


async def test_a_change_whose_response_was_lost_empties_the_cache(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        transport = LosesDeletions(store)
        async with client_of(store, transport, max_failures=1) as api:
            run = await api.create_run(entity="local", project="demo")
            assert len(await api.runs("local/demo").to_list()) == 1
            with pytest.raises(ServerError):
                await run.delete()
            assert await api.runs("local/demo").to_list() == []


class LosesDeletions(httpx.AsyncBaseTransport):
    """A W&B whose gateway answers for it when a run is deleted."""

    def __init__(self, store: Store) -> None:
        self._app = httpx.ASGITransport(create_app(store))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self._app.handle_async_request(request)
        return httpx.Response(502) if b"deleteRun" in await request.aread() else response


async def test_responses_are_cached_until_they_are_flushed(api: AsyncApi, sample: Sample) -> None:
    for expected in (1, 1):
        await api.runs(sample.path).to_list()
        assert api.traffic.requests == expected
    api.flush()
    await api.runs(sample.path).to_list()
    assert api.traffic.requests == 2


async def test_two_tasks_that_ask_the_same_send_one_request(api: AsyncApi, sample: Sample) -> None:
    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(api.runs(sample.path).to_list)
    assert api.traffic.requests == 1


async def test_readers_cannot_change_shared_responses(api: AsyncApi, sample: Sample) -> None:
    mine, theirs = await api.runs(sample.path)[0], await api.runs(sample.path)[0]
    mine.tags.append("mine")
    mine.config["mine"] = 1
    assert "mine" not in theirs.tags
    assert "mine" not in theirs.config


async def test_less_is_requested_if_less_is_selected(api: AsyncApi, sample: Sample) -> None:
    run = await api.runs(sample.path, include=["summary"])[0]
    assert run.summary
    assert run.name
    with pytest.raises(UsageError, match="listed without its config"):
        _ = run.config


async def test_the_next_page_travels_while_this_one_is_used(api: AsyncApi, sample: Sample) -> None:
    pages = api.runs(sample.path, per_page=2).pages()
    await anext(aiter(pages))
    await anyio.wait_all_tasks_blocked()
    assert api.traffic.requests == 2
    await pages.aclose()
