"""Sweeps: which runs an agent gets."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aiowandb_server import RunChanges, Store
from aiowandb_server.errors import RequestError
from aiowandb_server.graphql.scalars import encode_id
from aiowandb_server.store import search
from aiowandb_server.store.records import ProjectRow
from aiowandb_server.store.search import parse_space
from aiowandb_server.store.stream import Chunk, StreamUpdate
from aiowandb_server.store.sweeps import SweepChanges, SweepRow
from tests.server.conftest import Client, Clock

GRID = """
method: grid
metric: {name: loss, goal: minimize}
parameters:
  lr: {values: [0.1, 0.2]}
  fixed: {value: 7}
  net: {parameters: {depth: {min: 1, max: 2}}}
"""


def config(**settings: Any) -> str:
    return json.dumps(settings)  # JSON is YAML


def test_a_grid_has_every_combination_once() -> None:
    space = parse_space(GRID)
    assert space.size == 4
    drawn = [space.draw(number, seed=1) for number in range(5)]
    assert drawn[4] is None
    assert drawn[:4] == [
        {"lr": lr, "fixed": 7, "net": {"depth": depth}} for lr in (0.1, 0.2) for depth in (1, 2)
    ]


@pytest.mark.parametrize(
    ("parameter", "low", "high"),
    [
        ({"min": 1, "max": 4}, 1, 4),
        ({"min": 0.5, "max": 1.5}, 0.5, 1.5),
        ({"distribution": "q_uniform", "min": 0, "max": 10, "q": 5}, 0, 10),
        ({"distribution": "log_uniform_values", "min": 1e-5, "max": 1e-1}, 1e-5, 1e-1),
        ({"distribution": "log_uniform", "min": -3, "max": 0}, 0.049, 1),
        ({"distribution": "inv_log_uniform_values", "min": 0.01, "max": 1}, 0.01, 1.01),
        ({"distribution": "normal", "mu": 0, "sigma": 1}, -9, 9),
        ({"values": [3, 4], "probabilities": [1, 0]}, 3, 3),
    ],
    ids=str,
)
def test_random_values_stay_in_their_bounds(parameter: Any, low: float, high: float) -> None:
    space = parse_space(config(method="random", parameters={"x": parameter}))
    drawn = [space.draw(number, seed=1) for number in range(50)]
    assert space.size is None
    assert all(low <= values["x"] <= high for values in drawn if values)
    assert drawn == [space.draw(number, seed=1) for number in range(50)]


@pytest.mark.parametrize(
    "text",
    [
        "[",
        "3",
        config(parameters={}),
        config(method="magic"),
        config(method="grid", parameters={"x": {"min": 0.1, "max": 1}}),
        config(method="random", parameters={"x": {"distribution": "odd"}}),
        config(method="random", parameters={"x": 3}),
        config(method="random", parameters={"x": {"distribution": "uniform"}}),
    ],
)
def test_a_configuration_that_cannot_be_run_is_refused(
    store: Store, project: ProjectRow, text: str
) -> None:
    with pytest.raises(RequestError):
        store.sweeps.create(project, SweepChanges(config=text))
    assert store.sweeps.count(project) == 0


@pytest.fixture
def sweep(store: Store, project: ProjectRow) -> SweepRow:
    return store.sweeps.create(project, SweepChanges(config=GRID))


def state(store: Store, sweep: SweepRow) -> str:
    fresh = store.sweeps.by_id(sweep.id)
    assert fresh is not None
    return fresh.state


def test_agents_share_the_grid_and_the_sweep_finishes(store: Store, sweep: SweepRow) -> None:
    agents = [store.sweeps.add_agent(sweep, host) for host in ("a", "b")]
    commands = [store.sweeps.heartbeat(agent, {}) for agent in agents * 2]
    reported = [command for batch in commands for command in batch]
    assert {command["type"] for command in reported} == {"run"}
    assert len({command["run_id"] for command in reported}) == 4
    assert reported[0]["args"] == {
        "lr": {"value": 0.1},
        "fixed": {"value": 7},
        "net": {"value": {"depth": 1}},
    }
    assert state(store, sweep) == "RUNNING"
    assert store.sweeps.heartbeat(agents[0], {}) == [{"type": "exit"}]
    assert state(store, sweep) == "FINISHED"


def test_an_agent_gets_the_program_to_run(store: Store, project: ProjectRow) -> None:
    text = config(method="random", program="train.py", parameters={"x": {"value": 1}})
    sweep = store.sweeps.create(project, SweepChanges(config=text))
    (command,) = store.sweeps.heartbeat(store.sweeps.add_agent(sweep, "a"), {})
    assert command["program"] == "train.py"


def test_no_configuration_is_parsed_while_other_writers_wait(
    store: Store, sweep: SweepRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[bool] = []
    settings = search._settings

    def noted(text: str) -> Any:
        parsed.append(not store._database._writing._lock.locked())
        return settings(text)

    monkeypatch.setattr(search, "_settings", noted)
    parse_space.cache_clear()
    agent = store.sweeps.add_agent(sweep, "a")
    assert [command["type"] for command in store.sweeps.heartbeat(agent, {})] == ["run"]
    assert parsed == [True]


def test_a_busy_agent_gets_nothing_new(store: Store, sweep: SweepRow) -> None:
    agent = store.sweeps.add_agent(sweep, "a")
    (command,) = store.sweeps.heartbeat(agent, {})
    assert store.sweeps.heartbeat(agent, {command["run_id"]: True}) == []


def test_pause_cancel_and_stop_reach_the_agent(store: Store, sweep: SweepRow) -> None:
    agent = store.sweeps.add_agent(sweep, "a")
    store.sweeps.change(sweep.id, SweepChanges(state="PAUSED"))
    assert store.sweeps.heartbeat(agent, {}) == []
    store.sweeps.change(sweep.id, SweepChanges(state="CANCELED"))
    assert store.sweeps.heartbeat(agent, {"r": True}) == [{"type": "stop", "run_id": "r"}]
    assert store.sweeps.heartbeat(agent, {}) == [{"type": "exit"}]


@pytest.mark.anyio
async def test_a_sweep_shows_its_progress(
    client: Client, store: Store, project: ProjectRow, sweep: SweepRow, clock: Clock
) -> None:
    for name, loss in (("a", 2.0), ("b", 0.5)):
        changes = RunChanges(sweep=sweep.name, summary=json.dumps({"loss": loss}))
        store.runs.upsert(project, name, changes)
    agent = store.sweeps.add_agent(sweep, "host")
    clock.now += 120
    data = await client.ask(
        'query($s:String!){project(name:"demo"){totalSweeps sweep(sweepName:$s){method state '
        "bestLoss runCount runCountExpected agents{edges{node{host state totalRuns}}} "
        'agent(agentName:$s){id} runs(first:1,order:"+summary_metrics.loss"){edges{node{name}}}}}}',
        s=sweep.name,
    )
    found = data["project"]["sweep"]
    assert data["project"]["totalSweeps"] == 1
    assert found == {
        "method": "grid",
        "state": "PENDING",
        "bestLoss": 0.5,
        "runCount": 2,
        "runCountExpected": 4,
        "agents": {"edges": [{"node": {"host": "host", "state": "CRASHED", "totalRuns": 0}}]},
        "agent": None,
        "runs": {"edges": [{"node": {"name": "b"}}]},
    }
    assert agent.host == "host"


@pytest.mark.anyio
async def test_sweeps_are_filtered_and_know_their_prior_runs(
    client: Client, store: Store, project: ProjectRow
) -> None:
    store.runs.upsert(project, "old")
    prior = json.dumps({"$or": [{"name": "old"}]})
    sweep = store.sweeps.create(project, SweepChanges(config=GRID, prior_runs=prior))
    store.sweeps.create(project, SweepChanges(config=GRID, state="FINISHED"))
    data = await client.ask(
        """
        query($f: JSONString) { project(name: "demo") { sweeps(filters: $f) {
          edges { node { name priorRuns { edges { node { name } } } } } } } }
        """,
        f='{"state": {"$ne": "FINISHED"}}',
    )
    assert [edge["node"] for edge in data["project"]["sweeps"]["edges"]] == [
        {"name": sweep.name, "priorRuns": {"edges": [{"node": {"name": "old"}}]}}
    ]


ENQUEUE = """
mutation EnqueueSweepRun($id: ID!, $config: JSONString!, $displayName: String) {
  enqueueSweepRun(input: {id: $id, config: $config, displayName: $displayName}) {
    id runQueueItemId
  }
}
"""


async def enqueue(client: Client, sweep: SweepRow, values: object, name: str | None = None) -> str:
    sweep_id = encode_id("Sweep", sweep.id)
    data = await client.ask(ENQUEUE, id=sweep_id, config=json.dumps(values), displayName=name)
    assert data["enqueueSweepRun"]["runQueueItemId"] is None
    return str(data["enqueueSweepRun"]["id"])


@pytest.mark.anyio
async def test_an_enqueued_run_is_pending_until_an_agent_gets_it(
    client: Client, store: Store, project: ProjectRow, sweep: SweepRow
) -> None:
    values = {"lr": {"value": 0.5}, "plain": 3}
    run_id = await enqueue(client, sweep, values, "mine")
    data = await client.ask(
        'query($s: String!) { project(name: "demo") { sweep(sweepName: $s) {'
        " runs { edges { node { name displayName state config } } } } } }",
        s=sweep.name,
    )
    (edge,) = data["project"]["sweep"]["runs"]["edges"]
    assert edge["node"] == {
        "name": run_id,
        "displayName": "mine",
        "state": "pending",
        "config": '{"lr":{"value":0.5},"plain":{"value":3}}',
    }
    first, second = (store.sweeps.add_agent(sweep, host) for host in ("a", "b"))
    (command,) = store.sweeps.heartbeat(first, {})
    assert command["args"] == {"lr": {"value": 0.5}, "plain": {"value": 3}}
    assert store.sweeps.run_names(first) == [command["run_id"]]
    assert state(store, sweep) == "RUNNING"
    # It takes no place of the grid, whose four runs follow.
    drawn = [store.sweeps.heartbeat(agent, {})[0] for agent in (first, second, first, second)]
    assert {
        (run["args"]["lr"]["value"], run["args"]["net"]["value"]["depth"]) for run in drawn
    } == {(lr, depth) for lr in (0.1, 0.2) for depth in (1, 2)}
    assert store.sweeps.heartbeat(second, {}) == [{"type": "exit"}]


@pytest.mark.anyio
async def test_runs_cannot_be_enqueued_where_no_agent_takes_them(
    client: Client, store: Store, sweep: SweepRow
) -> None:
    sweep_id = encode_id("Sweep", sweep.id)
    assert await client.refusal(ENQUEUE, id=sweep_id, config="[1]") == (
        400,
        "the config of a run must be a JSON object",
    )
    store.sweeps.change(sweep.id, SweepChanges(state="CANCELED"))
    status, message = await client.refusal(ENQUEUE, id=sweep_id, config="{}")
    assert status == 400
    assert "is CANCELED" in message
    assert (await client.refusal(ENQUEUE, id=encode_id("Sweep", 999), config="{}"))[0] == 404


@pytest.mark.anyio
async def test_a_sweep_with_a_scheduler_gets_all_its_runs_from_it(
    client: Client, store: Store, project: ProjectRow
) -> None:
    text = config(
        method="custom", scheduler={"engine": "optuna"}, parameters={"x": {"min": 0.0, "max": 1.0}}
    )
    sweep = store.sweeps.create(project, SweepChanges(config=text))
    asked = (
        'query($s: String!) { project(name: "demo") {'
        " sweep(sweepName: $s) { controllerRunName } } }"
    )
    data = await client.ask(asked, s=sweep.name)
    assert data["project"]["sweep"]["controllerRunName"]
    agent = store.sweeps.add_agent(sweep, "a")
    assert store.sweeps.heartbeat(agent, {}) == []
    await enqueue(client, sweep, {"x": {"value": 0.25}})
    (command,) = store.sweeps.heartbeat(agent, {})
    assert command["args"] == {"x": {"value": 0.25}}
    data = await client.ask(
        """
        mutation UpsertSweepState($id: ID!, $state: String!) {
          upsertSweep(input: {id: $id, state: $state}) { sweep { state runCountExpected } } }
        """,
        id=encode_id("Sweep", sweep.id),
        state="FINISHED",
    )
    assert data["upsertSweep"]["sweep"] == {"state": "FINISHED", "runCountExpected": None}
    assert store.sweeps.heartbeat(agent, {}) == [{"type": "exit"}]


@pytest.mark.anyio
async def test_a_scheduler_watches_runs_with_their_histories(
    client: Client, store: Store, project: ProjectRow, sweep: SweepRow
) -> None:
    run, _ = store.runs.upsert(project, "one", RunChanges(sweep=sweep.name))
    store.stream.apply(run, StreamUpdate({"history": Chunk(0, ['{"_step":0,"loss":2.0}'])}))
    data = await client.ask(
        """
        query SweepRunsWithHistory($sweep: String!, $filters: JSONString!, $first: Int!,
                                   $specs: [JSONString!]!) {
          project(name: "demo", entityName: "local") {
            sweep(sweepName: $sweep) { state runs(first: $first) { ...SweepPollRuns } }
            runs(filters: $filters, first: $first) { ...SweepPollRuns }
          }
        }
        fragment SweepPollRuns on RunConnection {
          pageInfo { hasNextPage endCursor }
          edges { node { id name state config summaryMetrics sampledHistory(specs: $specs) } }
        }
        """,
        sweep=sweep.name,
        filters='{"name": {"$in": ["one"]}}',
        first=10,
        specs=['{"keys": ["loss"], "samples": 10}'],
    )
    found = data["project"]
    assert found["sweep"]["runs"] == found["runs"]
    (edge,) = found["runs"]["edges"]
    assert edge["node"]["sampledHistory"] == [[{"loss": 2.0}]]


@pytest.mark.anyio
async def test_the_flags_of_an_organization_can_be_asked_for(client: Client) -> None:
    data = await client.ask(
        """
        query OrgFeatureFlags($org: String!) {
          organization(name: $org) { featureFlags(rampIDType: OrgName) { rampKey isEnabled } } }
        """,
        org="none",
    )
    assert data == {"organization": None}
