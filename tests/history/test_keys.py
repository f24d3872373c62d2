"""Keys: without any, all are selected; the name of nested keys selects all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest

from aiowandb import Api, AsyncApi
from aiowandb_server import create_app
from tests.history.conftest import PROJECT, Mode, World

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.filterwarnings("ignore:No key named 'nothing'"),
]


ROWS: list[dict[str, Any]] = [
    {"_step": 0, "loss": 1.5, "nest": {"a": 1, "b": {"c": 2}}, "nested": "no"},
    {"_step": 1, "loss": 0.5, "nest": {"a": 3}},
    {"_step": 2, "loss": 0.25, "nest": {"b": {"c": None}}},
    {"_step": 3, "loss": 0.1, "nest": 7},
    {"_step": 4, "nest": {"b": {"c": 0.5}}},
]
NEST: list[dict[str, Any]] = [
    {"_step": 0, "nest.a": 1, "nest.b.c": 2},
    {"_step": 1, "nest.a": 3},
    {"_step": 3, "nest": 7},
    {"_step": 4, "nest.b.c": 0.5},
]
ALL: list[dict[str, Any]] = [
    {"_step": 0, "loss": 1.5, "nest.a": 1, "nest.b.c": 2, "nested": "no"},
    {"_step": 1, "loss": 0.5, "nest.a": 3},
    {"_step": 2, "loss": 0.25},
    {"_step": 3, "loss": 0.1, "nest": 7},
    {"_step": 4, "nest.b.c": 0.5},
]
# What is asked for, and the rows that this means.
MEANT: list[tuple[list[str], list[dict[str, Any]]]] = [
    ([], ALL),
    (["nest"], NEST),
    (["n[e]st"], NEST),
    (["nest.b"], [{"_step": 0, "nest.b.c": 2}, {"_step": 4, "nest.b.c": 0.5}]),
    (["nest.b.c"], [{"_step": 0, "nest.b.c": 2}, {"_step": 4, "nest.b.c": 0.5}]),
    (
        ["loss", "nest"],
        [
            {"_step": 0, "loss": 1.5, "nest.a": 1, "nest.b.c": 2},
            {"_step": 1, "loss": 0.5, "nest.a": 3},
            {"_step": 3, "loss": 0.1, "nest": 7},
        ],
    ),
    (["nest", "nothing"], []),
]
MODES: list[Mode] = ["parquet", "json", "mixed"]

meant = pytest.mark.parametrize(
    ("keys", "rows"), MEANT, ids=lambda found: "+".join(map(str, found))[:20]
)
modes = pytest.mark.parametrize("mode", MODES)


def without_nulls(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if value is not None} for row in rows]


@meant
@modes
async def test_rows_and_columns_have_what_the_keys_mean(
    world: World, mode: Mode, keys: list[str], rows: list[dict[str, Any]]
) -> None:
    world.add_run("r", ROWS)
    async with world.api(mode) as api:
        run = await api.run(f"{PROJECT}/r")
        assert [row async for row in run.scan_history(keys=keys)] == rows
        batches = [batch async for batch in run.scan_history_batches(keys=keys)]
        assert without_nulls([row for batch in batches for row in batch.to_pylist()]) == rows
        many = [batch async for _, batch in api.scan_histories([run], keys=keys)]
        assert without_nulls([row for batch in many for row in batch.to_pylist()]) == rows


@meant
@modes
async def test_samples_have_what_the_keys_mean(
    world: World, mode: Mode, keys: list[str], rows: list[dict[str, Any]]
) -> None:
    world.add_run("r", ROWS)
    async with world.api(mode) as api:
        run = await api.run(f"{PROJECT}/r")
        assert await run.history(keys=keys, pandas=False) == rows
        own = [row | {"run_id": "r"} for row in rows]
        assert await api.runs(PROJECT).histories(keys=keys) == own
        # Listed without what W&B knows of its keys.
        (listed,) = await api.runs(PROJECT, include=[]).to_list()
        assert await listed.history(keys=keys, pandas=False) == rows


@meant
@modes
def test_so_they_do_without_await(
    world: World, mode: Mode, keys: list[str], rows: list[dict[str, Any]]
) -> None:
    world.add_run("r", ROWS)
    transport = httpx.ASGITransport(create_app(world.store, history=mode))
    with Api(world.store.local_key, base_url="http://wandb.test", transport=transport) as api:
        run = api.run(f"{PROJECT}/r")
        assert list(run.scan_history(keys=keys)) == rows
        assert run.history(keys=keys, pandas=False) == rows
        frame = run.history(keys=keys)
        assert set(frame.columns) == {name for row in rows for name in row}


@modes
async def test_nested_keys_can_be_left_out(world: World, mode: Mode) -> None:
    world.add_run("r", ROWS)
    expected = [
        {name: value for name, value in row.items() if not name.startswith("nest.")} for row in ALL
    ]
    async with world.api(mode) as api:
        run = await api.run(f"{PROJECT}/r")
        for pattern in ("nest", "n[e]st"):
            rows = [row async for row in run.scan_history(exclude=[pattern])]
            assert rows == [{k: v for k, v in row.items() if k != "nest"} for row in expected]
        rows = [row async for row in run.scan_history(keys=["nest"], exclude=["nest.b"])]
        assert rows == [{k: v for k, v in row.items() if k != "nest.b.c"} for row in NEST[:3]]


@modes
async def test_an_export_accepts_nested_keys_too(world: World, mode: Mode, tmp_path: Path) -> None:
    world.add_run("r", ROWS)
    async with world.api(mode) as api:
        runs = api.runs(PROJECT)
        await runs.export(tmp_path / "nest", keys=["nest"])
        await runs.export(tmp_path / "rest", exclude=["nest"])
        await runs.export(tmp_path / "all", keys=[])

    def exported(name: str) -> list[dict[str, Any]]:
        return without_nulls(pq.read_table(tmp_path / name / "history").to_pylist())

    own = {"run_id": "r"}
    assert exported("nest") == [own | row for row in NEST]
    assert exported("all") == [own | row for row in ALL]
    rest = [{k: v for k, v in row.items() if not k.startswith(("nest.", "nest"))} for row in ALL]
    rest[0]["nested"] = "no"
    assert exported("rest") == [own | row for row in rest]


@modes
async def test_a_literal_key_with_a_dot_is_not_nested(world: World, mode: Mode) -> None:
    world.add_run("r", [{"_step": 0, "val.acc": 1, "val": {"acc": 2}}])
    async with world.api(mode) as api:
        run = await api.run(f"{PROJECT}/r")
        assert [row async for row in run.scan_history(keys=["val"])] == [{"_step": 0, "val.acc": 2}]
        rows = [row async for row in run.scan_history(keys=[r"val\.acc"])]
        assert rows == [{"_step": 0, r"val\.acc": 1}]


async def test_keys_that_are_logged_together_are_sampled_in_one_request(world: World) -> None:
    world.add_run("r", [{"_step": i, "loss": i, "nest": {"a": i, "b": i}} for i in range(100)])
    async with world.api("json") as api:
        run = await api.run(f"{PROJECT}/r")
        world.asked.clear()
        few = await run.history(samples=10, keys=["nest"], pandas=False)
        assert len(few) == 10
        assert len(await run.history(keys=["loss", "nest"], pandas=False)) == 100
        assert all(row.keys() == {"_step", "nest.a", "nest.b"} for row in few)
        assert world.asked == {"RunSampledHistory": 2}


@modes
@pytest.mark.parametrize("samples", [1, 7, 50, 1000])
async def test_keys_that_are_not_logged_together_are_sampled_evenly(
    world: World, mode: Mode, samples: int
) -> None:
    rows = [{"_step": i, "nest": {"even" if i % 2 else "odd": i}} for i in range(300)]
    world.add_run("r", rows)
    async with world.api(mode) as api:
        run = await api.run(f"{PROJECT}/r")
        found = await run.history(samples=samples, keys=["nest"], pandas=False)
        assert samples / 2 <= len(found) <= samples or len(found) == 300
        steps = [row["_step"] for row in found]
        assert len({after - step for step, after in pairwise(steps)}) <= 1
        assert all(row["_step"] in row.values() and len(row) == 2 for row in found)


@modes
async def test_another_axis_comes_without_the_step(world: World, mode: Mode) -> None:
    world.add_run("r", [{"_step": i, "epoch": i // 2, "nest": {"a": i}} for i in range(4)])
    async with world.api(mode) as api:
        run = await api.run(f"{PROJECT}/r")
        rows = await run.history(keys=["nest"], x_axis="epoch", pandas=False)
        assert rows == [{"epoch": i // 2, "nest.a": i} for i in range(4)]


WORDS: list[Any] = ["NaN", math.nan, "text", 1.5, math.inf, "Infinity", [1, math.nan, "NaN"], 2]


@modes
async def test_logged_strings_are_returned_as_strings_and_nan_as_nan(
    world: World, mode: Mode
) -> None:
    rows: list[dict[str, Any]] = [{"_step": i, "x": word} for i, word in enumerate(WORDS)]
    rows += [{"_step": 100 + i, "n": math.nan, "only": "NaN", "v": [math.nan]} for i in range(3)]
    world.add_run("r", rows)
    async with world.api(mode) as api:
        run = await api.run(f"{PROJECT}/r")
        scanned = [row async for row in run.scan_history()]
        assert repr(scanned) == repr(rows)
        assert repr(await run.history(pandas=False)) == repr(rows)
        for runs in (api.runs(PROJECT), api.runs(PROJECT, include=[])):
            (run,) = await runs.to_list()
            found = await run.history(keys=["x"], pandas=False)
            assert repr(found) == repr(rows[: len(WORDS)])
            found = await run.history(keys=["n", "only", "v"], pandas=False)
            assert repr(found) == repr(rows[len(WORDS) :])


async def test_a_number_that_is_nan_costs_no_further_request(world: World) -> None:
    world.add_run("r", [{"_step": i, "loss": math.nan, "word": "NaN"} for i in range(3)])
    async with world.api("json") as api:
        run = await api.run(f"{PROJECT}/r")
        world.asked.clear()
        rows = await run.history(keys=["loss", "word"], pandas=False)
        assert [repr(row["loss"]) + row["word"] for row in rows] == ["nanNaN"] * 3
        assert world.asked == {"RunSampledHistory": 1}


@modes
async def test_strings_among_numbers_are_restored_as_far_as_parquet_allows(
    world: World, mode: Mode
) -> None:
    rows: list[dict[str, Any]] = [{"_step": 0, "x": 1.5}, {"_step": 1, "x": "NaN"}]
    # Only the history of a live run is mixed.
    world.add_run("r", rows, finished=mode != "mixed")
    async with world.api(mode) as api:
        run = await api.run(f"{PROJECT}/r")
        assert [row["x"] for row in await run.history(keys=["x"], pandas=False)] == [1.5, "NaN"]
        scanned = [row["x"] async for row in run.scan_history()]
        assert repr(scanned) == ("[1.5, nan]" if mode == "parquet" else "[1.5, 'NaN']")
        columns = [batch.column("x") async for batch in run.scan_history_batches()]
        values = [value for column in columns for value in column.to_pylist()]
        expected = {"parquet": [1.5, math.nan], "json": ["1.5", '"NaN"'], "mixed": [1.5, "NaN"]}
        assert repr(values) == repr(expected[mode])


LITERALS = (
    '{"_step": 0, "one": 1.0, "n": 1, "e": 1e3, "zero": -0.0, "none": null, "f": 0.5,'
    ' "list": [1.0, 2.5], "media": {"_type": "x", "v": [1.0, null]}, "deep": {"none": null}}',
    '{"_step": 1, "one": 1, "n": 0.5, "e": 2e3, "zero": 0.5, "none": null, "f": 2.0,'
    ' "list": [3, 4.0], "media": {"_type": "x", "v": [NaN, 2]}, "deep": {"none": 3.0}}',
)
AS_READ: list[dict[str, Any]] = [
    {
        "_step": 0,
        "one": 1,
        "n": 1,
        "e": 1000,
        "zero": -0.0,
        "f": 0.5,
        "list": [1, 2.5],
        "media": {"_type": "x", "v": [1, None]},
    },
    {
        "_step": 1,
        "one": 1,
        "n": 0.5,
        "e": 2000,
        "zero": 0.5,
        "f": 2,
        "list": [3, 4],
        "media": {"_type": "x", "v": [math.nan, 2]},
        "deep.none": 3,
    },
]


@modes
async def test_a_number_without_a_fraction_is_an_int_and_none_is_left_out(
    world: World, mode: Mode
) -> None:
    world.add_run("r", [])
    project = world.store.projects.get("local", "demo")
    assert project
    run_there = world.store.runs.get(project, "r")
    assert run_there
    world.store.history.append(run_there, LITERALS)
    world.store.finish(run_there)

    def in_order(rows: Sequence[dict[str, Any]]) -> str:
        return repr([dict(sorted(row.items())) for row in rows])

    async with world.api(mode) as api:
        run = await api.run(f"{PROJECT}/r")
        assert in_order([row async for row in run.scan_history()]) == in_order(AS_READ)
        assert in_order(await run.history(pandas=False)) == in_order(AS_READ)
        keys = ["one", "n", "e", "zero", "f", "list"]
        some = [{key: row[key] for key in ["_step", *keys]} for row in AS_READ]
        assert in_order(await run.history(keys=keys, pandas=False)) == in_order(some)


async def test_a_run_without_rows_has_no_rows_with_a_key(world: World) -> None:
    world.add_run("r", [])
    async with world.api("json") as api:
        (run,) = await api.runs(PROJECT).to_list()
        assert isinstance(api, AsyncApi)
        assert await run.history(keys=["nest"], pandas=False) == []
