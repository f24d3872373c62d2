"""Sweeps and projects: found, listed, and their runs."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from aiowandb import Api, AsyncApi, NotFoundError, ServerError, UsageError
from aiowandb.wire.sweeps import SweepRecord, order_key
from aiowandb_server import RunChanges, Store
from aiowandb_server.store.sweeps import SweepChanges, SweepRow

pytestmark = pytest.mark.anyio

CONFIG = """
method: grid
name: search
metric: {name: val.loss, goal: minimize}
parameters:
  lr: {values: [0.1, 0.2, 0.4]}
"""
LOSSES = {"first": 2.0, "best": 0.5, "last": 1.0}


class Made:
    """A store with a project, two sweeps in it, and the runs of one of them."""

    def __init__(self, store: Store) -> None:
        self.store = store
        project = store.projects.ensure("local", "demo")[0]
        store.projects.ensure("local", "other")
        self.searched = store.sweeps.create(project, SweepChanges(config=CONFIG)).name
        self.empty = store.sweeps.create(
            project, SweepChanges(config="{method: random, parameters: {x: {value: 1}}}")
        ).name
        for name, loss in LOSSES.items():
            summary = json.dumps({"val": {"loss": loss}, "acc": -loss})
            changes = RunChanges(sweep=self.searched, summary=summary)
            store.runs.upsert(project, name, changes)
        store.runs.upsert(project, "silent", RunChanges(sweep=self.searched))
        store.runs.upsert(project, "alone", RunChanges(summary='{"val": {"loss": 0}}'))

    def sweep_rows(self) -> list[SweepRow]:
        project = self.store.projects.get("local", "demo")
        assert project
        return self.store.sweeps.page(project, first=10).items


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "wandb"


@pytest.fixture
def made(folder: Path) -> Iterator[Made]:
    with Store.open(folder) as store:
        yield Made(store)


@pytest.fixture
async def api(made: Made, folder: Path) -> AsyncIterator[AsyncApi]:
    async with AsyncApi.local(folder) as api:
        yield api


async def test_a_sweep_is_found_with_its_search_space(api: AsyncApi, made: Made) -> None:
    sweep = await api.sweep(f"local/demo/{made.searched}")
    assert (sweep.id, sweep.name, sweep.method) == (made.searched, "search", "grid")
    assert sweep.config["parameters"] == {"lr": {"values": [0.1, 0.2, 0.4]}}
    assert (sweep.state, sweep.run_count, sweep.expected_run_count) == ("PENDING", 4, 3)
    assert sweep.order == "+summary_metrics.val.loss"
    assert sweep.url.endswith(f"/local/demo/sweeps/{made.searched}")
    assert repr(sweep) == f"<Sweep local/demo/{made.searched} (PENDING)>"
    again = await api.sweep(f"https://wandb.ai/local/demo/sweeps/{made.searched}?nw=1")
    assert again.path == sweep.path


async def test_a_sweep_knows_its_runs_and_the_best_of_them(api: AsyncApi, made: Made) -> None:
    sweep = await api.sweep(f"local/demo/{made.searched}")
    assert {run.id async for run in sweep.runs} == {*LOSSES, "silent"}
    best = await sweep.best_run()
    assert best
    assert (best.id, best.summary["val.loss"]) == ("best", 0.5)
    for order, wanted in (("+acc", "first"), ("acc", "best"), ("-val.loss", "first")):
        found = await sweep.best_run(order)
        assert found
        assert found.id == wanted
    its_sweep = await best.sweep()
    assert its_sweep
    assert its_sweep.id == sweep.id
    assert await (await api.run("local/demo/alone")).sweep() is None


async def test_a_sweep_may_have_no_metric_and_no_runs(api: AsyncApi, made: Made) -> None:
    sweep = await api.sweep(f"local/demo/{made.empty}")
    assert (sweep.name, sweep.order, sweep.expected_run_count) == (made.empty, None, None)
    assert await sweep.best_run() is None


async def test_a_project_lists_its_sweeps_and_runs(api: AsyncApi, made: Made) -> None:
    project = await api.project("demo")
    assert (project.name, project.entity, project.path) == ("demo", "local", ["local", "demo"])
    assert project.url.endswith("/local/demo/workspace")
    assert project.created_at is not None
    for per_page in (1, 50):
        sweeps = project.sweeps(per_page)
        assert {sweep.id async for sweep in sweeps} == {made.searched, made.empty}
        assert await sweeps.count() == 2
    assert await project.runs().count() == 5
    assert await project.runs({"sweep": made.searched}).count() == 4


async def test_the_projects_of_an_entity_are_listed(api: AsyncApi) -> None:
    for projects in (api.projects(), api.projects("local", per_page=1)):
        assert {project.name async for project in projects} == {"demo", "other"}
        assert await projects.count() == 2
    assert await api.projects("nobody").to_list() == []
    other = await api.project("local/other")
    assert (await api.project("other", entity="local")) == other
    assert await other.sweeps().to_list() == []


async def test_missing_objects_are_named(api: AsyncApi) -> None:
    with pytest.raises(NotFoundError, match="Could not find sweep local/demo/nothing"):
        await api.sweep("local/demo/nothing")
    with pytest.raises(NotFoundError, match="Could not find project local/nothing"):
        await api.project("nothing")
    with pytest.raises(NotFoundError, match="Could not find sweep local/nothing/s"):
        await api.sweep("local/nothing/s")


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("loss", "-summary_metrics.loss"),
        ("+loss", "+summary_metrics.loss"),
        ("-eval/acc", "-summary_metrics.eval/acc"),
        ("+val.loss", "+summary_metrics.val.loss"),
        ("+summary_metrics.loss", "+summary_metrics.loss"),
        ("-config.lr.value", "-config.lr.value"),
        ("+createdAt", "+createdAt"),
    ],
)
def test_an_order_is_a_metric_unless_it_is_a_column(text: str, order: str) -> None:
    assert order_key(text) == order


@pytest.mark.parametrize("config", ["", "3", "- a", "metric: 3", "metric: {goal: maximize}"])
def test_an_odd_configuration_has_no_metric(config: str) -> None:
    assert SweepRecord(storage_id="x", id="s", config_text=config).order is None


def test_a_configuration_that_is_not_yaml_is_reported() -> None:
    with pytest.raises(ServerError, match="sweep s is not valid YAML"):
        _ = SweepRecord(storage_id="x", id="s", config_text="{a: [").config


def test_without_a_reader_for_yaml_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    sweep = SweepRecord(storage_id="x", id="s", display_name="mine", config_text=CONFIG)
    assert sweep.name == "mine"
    with pytest.raises(UsageError, match=r"aiowandb\[sweeps\]"):
        _ = sweep.config


def test_the_facade_reads_the_same(made: Made, folder: Path) -> None:
    with Api.local(folder) as api:
        sweep = api.sweep(f"local/demo/{made.searched}")
        assert sweep.config["method"] == "grid"
        assert {run.id for run in sweep.runs} == {*LOSSES, "silent"}
        best = sweep.best_run()
        assert best
        assert best.id == "best"
        assert best.sweep
        assert best.sweep.name == "search"
        assert api.sweep(f"local/demo/{made.empty}").best_run() is None
        assert {project.name for project in api.projects()} == {"demo", "other"}
        project = api.project("demo")
        assert len(project.sweeps()) == 2
        assert len(project.runs()) == 5


async def test_sweeps_are_filtered(api: AsyncApi, made: Made) -> None:
    project = await api.project("demo", entity="local")
    made.store.sweeps.change(
        next(s.id for s in made.sweep_rows() if s.name == made.empty),
        SweepChanges(state="FINISHED"),
    )
    ended = project.sweeps(filters={"state": "FINISHED"})
    assert [sweep.id async for sweep in ended] == [made.empty]
    assert await ended.count() == 1
    assert await project.sweeps(filters={"state": {"$in": ["PAUSED"]}}).to_list() == []
    assert await project.sweeps().count() == 2


async def test_agents_and_enqueued_runs_of_a_sweep(api: AsyncApi, made: Made) -> None:
    sweep = await api.sweep(f"local/demo/{made.searched}")
    assert await sweep.agents() == []
    run_id = await sweep.enqueue_run({"lr": 0.3, "net": {"depth": 2}}, display_name="mine")
    found = await api.runs("local/demo", {"state": "pending"}, fresh=True)[0]
    assert (found.id, found.display_name, found.sweep_name) == (
        run_id,
        "mine",
        made.searched,
    )
    assert found.config == {"lr": 0.3, "net": {"depth": 2}}
    row = next(s for s in made.sweep_rows() if s.name == made.searched)
    made.store.sweeps.heartbeat(made.store.sweeps.add_agent(row, "box"), {})
    (agent,) = await sweep.agents()
    assert (agent.host, agent.state, agent.total_runs) == ("box", "RUNNING", 1)
