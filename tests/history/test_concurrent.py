"""The histories of many runs: few requests, every row once, and failures of single runs."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import anyio
import httpx
import orjson
import pyarrow as pa
import pytest

from aiowandb import (
    AiowandbWarning,
    AsyncApi,
    CommError,
    RunsFailedError,
    ServerError,
    UsageError,
)
from aiowandb.history.columns import Kind, kind_of
from aiowandb.history.pages import ParquetPage
from aiowandb.net.retry import RetryPolicy
from tests.history.conftest import PROJECT, Mode, World

pytestmark = pytest.mark.anyio


def losses(rows: int, seed: int = 0) -> list[dict[str, Any]]:
    return [{"_step": i, "loss": (seed * 31 + i) / 7, "val": {"acc": i % 5}} for i in range(rows)]


async def histories(api: AsyncApi, **choice: Any) -> dict[str, list[dict[str, Any]]]:
    """Every run's rows, in the order that they come."""
    found: dict[str, list[dict[str, Any]]] = {}
    async for run, batch in api.scan_histories(api.runs(PROJECT, per_page=100), **choice):
        found.setdefault(run.id, []).extend(
            [row for rows in ParquetPage(batch).rows() for row in rows]
        )
    return found


def flat(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"_step": r["_step"], "loss": r["loss"], "val.acc": r["val"]["acc"]} for r in rows]


# Failures are retried without a pause.
AT_ONCE = RetryPolicy(first_wait=0)


@pytest.mark.parametrize("mode", ["parquet", "json", "mixed"])
@pytest.mark.parametrize("ordered", [True, pytest.param(False, marks=pytest.mark.slow)])
async def test_every_row_of_every_run_comes_once(world: World, mode: Mode, ordered: bool) -> None:
    for n in range(9):
        world.add_run(f"r{n}", losses(n * 40, n), finished=n % 4 > 0)
    async with world.api(mode) as api:
        found = await histories(api, ordered=ordered)
    assert found == {f"r{n}": flat(losses(n * 40, n)) for n in range(1, 9)}


async def test_ordered_runs_come_one_after_another(world: World) -> None:
    for n in range(20):
        world.add_run(f"r{n}", losses(30, n))
    async with world.api() as api:
        expected = [run.id async for run in api.runs(PROJECT)]
        runs = [r.id async for r, _ in api.scan_histories(api.runs(PROJECT), ordered=True)]
    assert list(dict.fromkeys(runs)) == expected


@pytest.mark.slow
async def test_plans_of_many_runs_share_a_request(world: World) -> None:
    for n in range(120):
        world.add_run(f"r{n}", losses(3, n))
    async with world.api() as api:
        await histories(api)
        assert world.asked["HistoryPlans"] <= 3
        assert api.traffic.requests <= 6
        assert world.asked["download"] == 120


async def test_short_histories_of_many_runs_share_a_request(world: World) -> None:
    for n in range(60):
        world.add_run(f"r{n}", losses(100, n))
    async with world.api("json") as api:
        await histories(api)
    assert world.asked["HistoryPages"] <= 3


async def test_few_rows_over_many_steps_take_few_requests(world: World) -> None:
    rows = [{"_step": i * 10**5, "loss": i} for i in range(101)]
    world.add_run("sparse", rows)
    async with world.api("json") as api:
        run = await api.run(f"{PROJECT}/sparse")
        assert [row async for row in run.scan_history()] == rows
    assert world.asked["HistoryPages"] <= 3


async def test_a_run_that_fails_alone_is_named_and_the_others_come(world: World) -> None:
    for n in range(30):
        world.add_run(f"r{n}", losses(10, n))

    def poisoned(path: str, body: bytes) -> int | None:
        return 502 if b'"r13"' in body and b"HistoryPlans" in body else None

    world.fault = poisoned
    async with world.api() as api:
        found = {}
        with pytest.raises(RunsFailedError, match="local/demo/r13") as caught:
            async for run, batch in api.scan_histories(api.runs(PROJECT)):
                found[run.id] = batch.num_rows
    assert found == {f"r{n}": 10 for n in range(30) if n != 13}
    assert [ref.run for ref in caught.value.failed] == ["r13"]
    assert all(isinstance(error, ServerError) for error in caught.value.failed.values())


def reset(path: str) -> int:
    raise httpx.ReadError("connection reset")


@pytest.mark.parametrize("asked", [b"HistoryPlans", b"HistoryPages"])
@pytest.mark.parametrize("fail", [lambda path: 404, lambda path: 409, reset])
async def test_a_failure_of_any_kind_is_traced_to_its_run(
    world: World, asked: bytes, fail: Callable[[str], int]
) -> None:
    for n in range(10):
        world.add_run(f"r{n}", losses(10, n))
    world.fault = lambda path, body: fail(path) if b'"r7"' in body and asked in body else None
    found = set()
    async with world.api("json", retry=AT_ONCE) as api:
        with pytest.raises(RunsFailedError) as caught:
            async for run, _ in api.scan_histories(api.runs(PROJECT)):
                found.add(run.id)
    assert found == {f"r{n}" for n in range(10) if n != 7}
    assert [ref.run for ref in caught.value.failed] == ["r7"]


@pytest.mark.parametrize(
    "fail",
    [
        lambda path: 502,
        *(
            pytest.param(fail, marks=pytest.mark.slow)
            for fail in (lambda path: 200, lambda path: 401, reset)
        ),
    ],
)
async def test_a_failure_of_everything_ends_the_scan_at_once(
    world: World, fail: Callable[[str], int]
) -> None:
    for n in range(100):
        world.add_run(f"r{n}", losses(1))
    is_over = False
    world.fault = lambda path, body: fail(path) if is_over else None
    async with world.api("json", retry=AT_ONCE) as api:
        runs = await api.runs(PROJECT).to_list()
        before, is_over = api.traffic.requests, True
        with pytest.raises(CommError):
            async for _ in api.scan_histories(runs):
                pass
        assert api.traffic.requests - before < len(runs) / 2


async def test_batches_halve_when_the_server_finds_them_too_large(world: World) -> None:
    for n in range(40):
        world.add_run(f"r{n}", losses(5, n))

    def small(path: str, body: bytes) -> int | None:
        return 413 if path == "/graphql" and body.count(b": run(name") > 7 else None

    world.fault = small
    async with world.api("json") as api:
        assert len(await histories(api)) == 40


# Amazon and Azure answer 403 for a link that has expired, Google 400.
@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
async def test_expired_links_are_requested_again(world: World, status: int) -> None:
    for n in range(3):
        world.add_run(f"r{n}", losses(20, n))
    expired: set[str] = set()

    def expire_once(path: str, body: bytes) -> int | None:
        if path == "/graphql" or path in expired:
            return None
        expired.add(path)
        return status

    world.fault = expire_once
    async with world.api() as api:
        assert await histories(api) == {f"r{n}": flat(losses(20, n)) for n in range(3)}


async def test_runs_whose_links_never_work_are_read_as_json(world: World) -> None:
    for n in range(3):
        world.add_run(f"r{n}", losses(20, n))
    barred: list[str] = []

    def bar_the_first(path: str, body: bytes) -> int | None:
        if path == "/graphql" or path not in (barred or [path]):
            return None
        barred.append(path)
        return 403

    world.fault = bar_the_first
    async with world.api() as api:
        with pytest.warns(AiowandbWarning, match=r"Run local/demo/r\d: its Parquet files cannot"):
            found = await histories(api)
    assert len(barred) == 2  # the link, and a new one
    assert found == {f"r{n}": flat(losses(20, n)) for n in range(3)}


async def test_an_export_says_which_runs_it_had_to_read_as_json(
    world: World, tmp_path: Path
) -> None:
    for n in range(3):
        world.add_run(f"r{n}", losses(20, n))
    barred: list[str] = []

    def bar_the_first(path: str, body: bytes) -> int | None:
        if path == "/graphql" or path not in (barred or [path]):
            return None
        barred.append(path)
        return 403

    async with world.api() as api:
        await api.runs(PROJECT).export(tmp_path / "expected", format="csv")
    world.fault = bar_the_first
    async with world.api() as api:
        with pytest.warns(AiowandbWarning, match="read as JSON"):
            result = await api.runs(PROJECT).export(tmp_path / "out", format="csv")
    assert len(barred) == 2
    assert (len(result.read_as_json), result.rows, result.failed) == (1, 60, ())
    found, expected = (
        (tmp_path / name / "history.csv").read_text() for name in ("out", "expected")
    )
    assert found == expected


async def test_a_run_may_grow_while_it_is_read(world: World) -> None:
    world.add_run("growing", losses(2_500), finished=False)
    async with world.api("mixed") as api:
        run = await api.run(f"{PROJECT}/growing")
        steps = []
        async for row in run.scan_history(page_size=100):
            steps.append(row["_step"])
            if row["_step"] == 500:
                project, _ = world.store.projects.ensure("local", "demo")
                growing = world.store.runs.get(project, "growing")
                assert growing is not None
                more = [orjson.dumps({"_step": 2_500 + i}).decode() for i in range(50)]
                world.store.history.append(growing, more)
                world.store.finish(growing, exit_code=0)
    assert steps[:2_500] == list(range(2_500))
    assert len(set(steps)) == len(steps)


@pytest.mark.parametrize("mode", ["parquet", pytest.param("json", marks=pytest.mark.slow)])
async def test_leaving_early_leaves_nothing_behind(world: World, mode: Mode) -> None:
    for n in range(40):
        world.add_run(f"r{n}", losses(50, n))
    async with world.api(mode) as api:
        tasks = len(anyio.get_running_tasks())
        async for _ in api.scan_histories(api.runs(PROJECT)):
            break
        gc.collect()
        with anyio.fail_after(120):
            while len(anyio.get_running_tasks()) > tasks:  # noqa: ASYNC110 - tells of no end
                # Without a pause the server's threads would not get hold of the interpreter.
                await anyio.sleep(0.01)
    gc.collect()  # an unclosed stream would warn, and a warning fails


async def test_many_histories_need_an_api_that_was_entered(world: World) -> None:
    api = AsyncApi(world.store.local_key, base_url="http://wandb.test")
    with pytest.raises(UsageError, match="async with"):
        api.scan_histories([])
    await api.aclose()


ODD: list[dict[str, Any]] = [
    {"_step": 0, "n": 1, "f": 1, "mixed": 1, "media": {"_type": "image-file", "path": "x"}},
    {"_step": 1, "n": 2, "f": 0.5, "mixed": "a", "list": [1, 2], "nest": {"a": {"b": True}}},
    {"_step": 5, "n": None, "f": math.nan, "mixed": None, "list": [0.5], "text": "é☃"},
    {"_step": 9, "f": -math.inf, "big": 2**60, "nest": {"a": {"b": False}, "c": "x"}},
    {"_step": 10**6, "text": "", "empty": {}, "words": ["a"], "huge": 2**70},
]


async def test_columns_are_the_same_whichever_way_the_rows_came(world: World) -> None:
    world.add_run("odd", ODD)
    tables = []
    for mode in ("parquet", "json"):
        async with world.api(mode) as api:
            run = await api.run(f"{PROJECT}/odd")
            tables.append(pa.Table.from_batches([b async for b in run.scan_history_batches()]))
    one, other = tables
    assert set(one.schema.names) == set(other.schema.names)
    for name in one.schema.names:
        assert kind_of(one.schema.field(name)) is kind_of(other.schema.field(name)), name
        assert repr(one.column(name).to_pylist()) == repr(other.column(name).to_pylist()), name
    assert kind_of(one.schema.field("n")) is Kind.INT
    assert kind_of(one.schema.field("mixed")) is Kind.JSON


async def test_system_metrics_come_in_full(world: World) -> None:
    world.add_run("r", losses(3))
    project, _ = world.store.projects.ensure("local", "demo")
    run = world.store.runs.get(project, "r")
    assert run is not None
    lines = [orjson.dumps({"_runtime": i, "system.cpu": i / 2}).decode() for i in range(1_500)]
    world.store.history.append(run, lines, stream="events")
    async with world.api() as api:
        read = await api.run(f"{PROJECT}/r")
        rows = [row async for row in read.scan_history(stream="system")]
        assert [row["system.cpu"] for row in rows] == [i / 2 for i in range(1_500)]
        batches = [b async for b in read.scan_history_batches(["system.*"], stream="system")]
        assert sum(batch.num_rows for batch in batches) == 1_500
        assert batches[0].schema.names == ["system.cpu"]
