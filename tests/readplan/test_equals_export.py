"""A plan reads the same values as an export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from aiowandb import Api
from aiowandb.choices import HistoryMode
from aiowandb_server.store.stream import Chunk, StreamUpdate

from .world import PATH, World, exported, of_batches, values

SELECTIONS: list[dict[str, Any]] = [
    {},
    {"keys": ["loss", "epoch"], "any_key": False},
    {"keys": ["val", "e*"], "exclude": ["val.deep"], "min_step": 3, "max_step": 20},
]


@pytest.mark.parametrize(
    "history",
    ["mixed", *(pytest.param(mode, marks=pytest.mark.slow) for mode in ("parquet", "json"))],
)
def test_the_rows_of_all_parts_are_those_of_an_export(
    world: World, tmp_path: Path, history: HistoryMode
) -> None:
    world.add_odd_runs()
    with world.serve(history) as url, Api(world.key, base_url=url) as api:
        for number, selection in enumerate(SELECTIONS):
            expected = exported(api, tmp_path / str(number), **selection)
            plan = api.runs(PATH).plan(**selection)
            assert plan.schema.equals(expected.schema, check_metadata=False)
            batches = [batch for part in plan.parts(3) for batch in part.read()]
            assert values(of_batches(plan.schema, batches)) == values(expected)
        assert values(pa.table(plan)) == values(expected)
        assert values(pa.table(plan)) == values(expected)  # again


def test_the_plan_has_the_rows_of_an_export(world: World, tmp_path: Path) -> None:
    world.add_odd_runs()
    with world.serve() as url, Api(world.key, base_url=url) as api:
        result = api.runs(PATH).export(tmp_path / "out", what=["history"])
        plan = api.runs(PATH).plan()
        assert plan.clashes == tuple(clash.column for clash in result.clashes) != ()
        assert (plan.runs, plan.rows) == (result.runs, result.rows)
        # And one for the row by which it is known what to believe of files.
        assert plan.requests <= result.requests + 1


def test_system_metrics_travel_with_the_plan(world: World, tmp_path: Path) -> None:
    for name in ("one", "two"):
        run = world.add_run(name, [{"_step": 0, "loss": 1.0}], finished=False)
        events = [f'{{"_timestamp": {i}, "system.{name}": {i / 3}}}' for i in range(4)]
        world.store.stream.apply(run, StreamUpdate(chunks={"events": Chunk(0, events)}))
    with world.serve() as url, Api(world.key, base_url=url) as api:
        expected = exported(api, tmp_path / "out", table="system")
        plan = api.runs(PATH).plan(stream="system")
        batches = [batch for part in plan.parts(2) for batch in part.read()]
        assert values(of_batches(plan.schema, batches)) == values(expected)
        assert expected.num_rows == 8


@pytest.mark.slow
def test_a_long_run_may_span_parts_and_has_each_row_once(world: World, tmp_path: Path) -> None:
    world.add_run("short", ({"_step": i, "loss": i / 2} for i in range(10)))
    world.add_run("long", ({"_step": 2 * i, "loss": i / 2} for i in range(60_000)))
    world.add_run("other", ({"_step": i, "loss": i / 2} for i in range(10)))
    with world.serve() as url, Api(world.key, base_url=url) as api:
        plan = api.runs(PATH).plan()
        parts = plan.parts(4)
        assert [("long" in part.runs) for part in parts] == [True] * 4
        assert max(part.rows for part in parts) < 1.5 * plan.rows / 4
        batches = [batch for part in parts for batch in part.read()]
        expected = exported(api, tmp_path / "out")
        assert of_batches(plan.schema, batches)["_step"].equals(expected["_step"])
        assert of_batches(plan.schema, batches).num_rows == 60_020
        for part in parts:
            read = sum(batch.num_rows for batch in part.read(["_step"]))
            assert read == pytest.approx(part.rows, abs=100)
