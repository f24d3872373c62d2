"""What is read by a plan is what an export has, value by value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from aiowandb import Api
from aiowandb.choices import HistoryMode

from .world import PATH, World, exported, of_batches, values

SELECTIONS: list[dict[str, Any]] = [
    {},
    {"keys": ["loss"]},
    {"keys": ["loss", "epoch"], "any_key": False},
    {"keys": ["val", "e*"], "exclude": ["val.deep"]},
    {"exclude": ["l*"]},
    {"min_step": 3, "max_step": 20},
]


@pytest.mark.parametrize("history", ["parquet", "json", "mixed"])
def test_the_rows_of_all_parts_are_those_of_an_export(
    world: World, tmp_path: Path, history: HistoryMode
) -> None:
    world.add_odd_runs()
    with world.serve(history) as url, Api(world.key, base_url=url) as api:
        for number, selection in enumerate(SELECTIONS):
            expected = exported(api, tmp_path / str(number), **selection)
            plan = api.runs(PATH).plan(**selection)
            assert plan.schema.equals(expected.schema, check_metadata=False)
            for count in (1, 3, 64):
                batches = [batch for part in plan.parts(count) for batch in part.read()]
                assert values(of_batches(plan.schema, batches)) == values(expected)
            assert values(pa.table(plan)) == values(expected)
            assert values(pa.table(plan)) == values(expected)  # again


def test_the_plan_says_what_an_export_says_of_clashes(world: World, tmp_path: Path) -> None:
    world.add_odd_runs()
    with world.serve() as url, Api(world.key, base_url=url) as api:
        result = api.runs(PATH).export(tmp_path / "out")
        plan = api.runs(PATH).plan()
        assert plan.clashes == tuple(clash.key for clash in result.clashes) != ()
        assert plan.runs == result.runs
        assert plan.rows == result.rows


def test_system_metrics_travel_with_the_plan(world: World, tmp_path: Path) -> None:
    world.add_odd_runs()
    with world.serve() as url, Api(world.key, base_url=url) as api:
        for run in api.runs(PATH):
            stored = world.store.runs.find(run.storage_id)
            del stored
        plan = api.runs(PATH).plan(stream="system")
        assert plan.schema.names[0] == "run_id"
