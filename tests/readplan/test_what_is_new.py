"""Plans of what is new, of some rows of a plan, and parts that come while runs are listed."""

from __future__ import annotations

import pytest

from aiowandb import Api, ReadPart, ReadPlan, UsageError
from aiowandb.api import planning
from aiowandb.choices import HistoryMode
from aiowandb.readplan import runs as planned_runs
from aiowandb.readplan.part import PartData
from aiowandb_server import create_app, serve_in_thread

from .world import PATH, World, of_batches


def steps(plan: ReadPlan) -> list[tuple[str, int]]:
    table = of_batches(plan.schema, plan.read())
    return sorted((row["run_id"], row["_step"]) for row in table.to_pylist())


@pytest.mark.parametrize("history", ["parquet", "json"])
def test_a_plan_after_another_one_has_what_is_new(world: World, history: str) -> None:
    world.add_run("done", ({"_step": i, "loss": 0.5} for i in range(5)))
    live = world.add_run("live", ({"_step": i, "loss": 0.5} for i in range(5)), finished=False)
    app = create_app(world.store, history=history)  # type: ignore[arg-type]
    with serve_in_thread(app) as url, Api(world.key, base_url=url) as api:
        first = api.runs(PATH).plan()
        assert first.last_steps == {"done": 4, "live": 4}
        nothing = api.runs(PATH).plan(after=first.last_steps)
        assert (nothing.rows, nothing.parts(3), steps(nothing)) == (0, [], [])
        world.store.history.append(live, [f'{{"_step": {i}, "loss": 1}}' for i in range(5, 8)])
        world.store.finish(live)
        world.add_run("new", [{"_step": 3, "acc": 1.5}])
        second = api.runs(PATH).plan(after=nothing.last_steps)
        assert steps(second) == [("live", 5), ("live", 6), ("live", 7), ("new", 3)]
        assert second.last_steps == {"done": 4, "live": 7, "new": 3}


def test_a_run_that_was_rewound_is_planned_again(world: World) -> None:
    world.add_run("run", ({"_step": i, "loss": 0.5} for i in range(5)))
    with Api.local(world.store.folder) as api:
        plan = api.runs(PATH).plan(after={"run": 9})
        assert steps(plan) == [("run", step) for step in range(5)]


def test_some_rows_of_a_plan_are_a_plan(world: World) -> None:
    for name in ("a", "b", "c"):
        world.add_run(name, ({"_step": i, "loss": 0.5} for i in range(5)))
    with Api.local(world.store.folder) as api:
        plan = api.runs(PATH).plan()
        assert steps(plan.select(runs=["b"])) == [("b", step) for step in range(5)]
        assert steps(plan.select(min_step=3, max_step=4)) == [("a", 3), ("b", 3), ("c", 3)]
        until = plan.select(last_steps={"a": 1, "c": 0})
        assert steps(until) == [("a", 0), ("a", 1), ("c", 0)]
        assert until.last_steps == {"a": 1, "c": 0}
        assert plan.select(min_step=9).parts(1) == []
        assert steps(plan.select(last_steps={})) == []
        with pytest.raises(UsageError, match="write .'abc'."):
            plan.select(runs="abc")
        with pytest.raises(UsageError, match="min_step must be a whole number"):
            plan.select(min_step="a")  # type: ignore[arg-type]


def test_the_first_parts_come_before_the_last_run_is_listed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "RUNS_PER_PAGE", 50)
    for number in range(101):
        world.add_run(f"run-{number:04}", [{"_step": 0, "loss": 0.5}])
    with world.serve() as url, Api(world.key, base_url=url) as api:
        rows, asked = [], []
        for part in api.runs(PATH).stream_parts(10, ["loss"]):
            rows.append(part.rows)
            asked.append(api.traffic.requests)
        assert sum(rows) == 101
        everything = api.runs(PATH).plan(["loss"])
        assert asked[0] < everything.requests - 1


def test_parts_that_come_while_runs_are_listed_have_all_rows_of_a_long_run(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planned_runs, "SHORT_RUN", 20)
    for name, count in (("long", 90), ("short", 10), ("longer", 250)):
        world.add_run(name, ({"_step": i, "loss": 0.5} for i in range(count)))
    with world.serve() as url, Api(world.key, base_url=url) as api:
        runs = api.runs(PATH)
        tables = [of_batches(part.schema, part.read()) for part in runs.stream_parts(60)]
        read = [(row["run_id"], row["_step"]) for table in tables for row in table.to_pylist()]
        assert sorted(read) == steps(runs.plan())
        assert len(read) == 350


def test_a_part_of_an_earlier_version_with_two_slices_of_a_run_has_the_rows_of_both(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planned_runs, "SHORT_RUN", 20)
    world.add_run("long", ({"_step": i, "loss": 0.5} for i in range(90)))
    with world.serve() as url, Api(world.key, base_url=url) as api:
        first, second = (part._data for part in api.runs(PATH).plan().parts(2))
        slices = first.slices + second.slices
        both = ReadPart(PartData(first.origin, first.columns, first.selection, slices))
        read = of_batches(both.schema, both.read())
        assert read["_step"].to_pylist() == list(range(90))


@pytest.mark.parametrize("history", ["mixed", "parquet"])
def test_rows_that_were_left_out_because_they_were_in_no_file_are_new_later(
    world: World, history: HistoryMode
) -> None:
    live = world.add_run("live", ({"_step": i, "loss": 0.5} for i in range(10)), finished=False)
    with world.serve(history) as url, Api(world.key, base_url=url) as api:
        first = api.runs(PATH).plan(live="skip")
        in_files = steps(first)
        assert len(in_files) == (5 if history == "mixed" else 0)
        assert first.rows >= len(in_files)
        read = api.runs(PATH).plan()
        assert api.runs(PATH).plan(live="skip", after=read.last_steps).last_steps == {"live": 9}
        more = [f'{{"_step": {i}, "loss": 1}}' for i in range(10, 12)]
        world.store.history.append(live, more)
        assert api.runs(PATH).plan(live="skip", after=read.last_steps).last_steps == {"live": 9}
        world.store.finish(live)
        second = api.runs(PATH).plan(live="skip", after=first.last_steps)
        assert [*in_files, *steps(second)] == [("live", step) for step in range(12)]
        assert steps(api.runs(PATH).plan(after=second.last_steps)) == []
