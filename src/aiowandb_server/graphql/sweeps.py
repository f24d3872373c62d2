"""Sweeps and their agents: queries and mutations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiowandb_server.errors import RequestError, UnknownFieldError
from aiowandb_server.graphql.projects import ensure_project, require_project
from aiowandb_server.graphql.resolving import Resolvers, connection, page_size, unpaged
from aiowandb_server.graphql.runs import parse_filters, run_connection
from aiowandb_server.graphql.scalars import encode_id, int32, row_id
from aiowandb_server.store import json_text
from aiowandb_server.store.records import RunChanges
from aiowandb_server.store.search import SearchSpace, parse_space
from aiowandb_server.store.sweeps import SweepChanges

if TYPE_CHECKING:
    from aiowandb_server.graphql.context import Context
    from aiowandb_server.store.records import ProjectRow, UserRow
    from aiowandb_server.store.sweeps import Agent, SweepRow

resolvers = Resolvers()


@resolvers("Project", "totalSweeps")
def total_sweeps(project: ProjectRow, context: Context) -> int:
    return context.store.sweeps.count(project)


@resolvers("Project", "sweeps")
def sweeps(
    project: ProjectRow,
    context: Context,
    after: str | None = None,
    first: int | None = None,
    filters: str | None = None,
) -> Any:
    page = context.store.sweeps.page(
        project, filters=parse_filters(filters, context), first=page_size(first), after=after
    )
    return connection(page.items, page.cursors, has_next=page.has_next)


@resolvers("Project", "sweep")
def sweep(project: ProjectRow, context: Context, sweep_name: str) -> SweepRow | None:
    return context.store.sweeps.get(project, sweep_name)


@resolvers.mutation("upsertSweep")
def upsert_sweep(context: Context, wanted: dict[str, Any]) -> dict[str, Any]:
    parse_filters(wanted.get("priorRunsFilters"), context)
    changes = SweepChanges(
        display_name=wanted.get("displayName"),
        description=wanted.get("description"),
        config=wanted.get("config"),
        state=wanted.get("state"),
        controller=wanted.get("controller"),
        scheduler=wanted.get("scheduler"),
        prior_runs=wanted.get("priorRunsFilters"),
    )
    if wanted.get("id"):
        known = _sweep_by_id(context, wanted["id"])
        saved = context.store.sweeps.change(known.id, changes)
    else:
        project, _ = ensure_project(context, wanted.get("projectName"), wanted.get("entityName"))
        saved = context.store.sweeps.create(project, changes, user_id=context.viewer.id)
    return {"sweep": saved, "configValidationWarnings": []}


@resolvers.mutation("enqueueSweepRun")
def enqueue_sweep_run(context: Context, wanted: dict[str, Any]) -> dict[str, Any]:
    """Add a run to a sweep; it is pending until an agent starts it."""
    found = _sweep_by_id(context, wanted["id"])
    if found.state in ("FINISHED", "CANCELED"):
        raise RequestError(f"sweep {found.name!r} is {found.state}: no agent would start the run")
    changes = RunChanges(
        display_name=wanted.get("displayName"),
        state="pending",
        user_id=context.viewer.id,
        sweep=found.name,
        config=_with_wrapped_values(wanted["config"]),
    )
    run, _ = context.store.runs.upsert(_project(found, context), None, changes)
    # Schedulers look for the runs by this, as their name. There are no launch queues here, so that
    # no queue has an item for it.
    return {"id": run.name, "runQueueItemId": None}


def _with_wrapped_values(config: str) -> str:
    values = json_text.loads_object(config)
    if values is None:
        raise RequestError("the config of a run must be a JSON object")
    return json_text.dumps(
        {
            key: value if isinstance(value, dict) and "value" in value else {"value": value}
            for key, value in values.items()
        }
    )


@resolvers.mutation("createAgent")
def create_agent(context: Context, wanted: dict[str, Any]) -> dict[str, Any]:
    project = require_project(context, wanted.get("projectName"), wanted.get("entityName"))
    found = context.store.sweeps.get(project, wanted["sweep"])
    if found is None:
        raise RequestError(f"sweep {wanted['sweep']!r} not found", 404)
    return {"agent": context.store.sweeps.add_agent(found, wanted["host"])}


@resolvers.mutation("agentHeartbeat")
def agent_heartbeat(context: Context, beat: dict[str, Any]) -> dict[str, Any]:
    agent = context.store.sweeps.agent(row_id("Agent", beat["id"]))
    sweep = context.store.sweeps.by_id(agent.sweep_id) if agent else None
    if agent is None or sweep is None or not context.may_see_project(sweep.project_id):
        raise RequestError("agent not found: its sweep has been deleted", 404)
    running = json_text.loads_object(beat.get("runState") or "{}") or {}
    commands = context.store.sweeps.heartbeat(agent, running)
    return {"agent": agent, "commands": json_text.dumps(commands)}


@resolvers("Sweep", "runs")
def runs_of_sweep(
    sweep: SweepRow,
    context: Context,
    first: int | None = None,
    after: str | None = None,
    order: str | None = None,
    filters: str | None = None,
    **_: Any,
) -> Any:
    selected = {"$and": [{"sweep": sweep.name}, parse_filters(filters, context) or {}]}
    return run_connection(context, _project(sweep, context), selected, order, first, after)


@resolvers("Sweep", "priorRuns")
def prior_runs(
    sweep: SweepRow, context: Context, first: int | None = None, after: str | None = None
) -> Any:
    if not sweep.prior_runs:
        return unpaged([])
    try:
        selected = parse_filters(sweep.prior_runs, context)
        return run_connection(context, _project(sweep, context), selected, None, first, after)
    except RequestError:
        return unpaged([])  # an invalid stored filter must not break lists of sweeps


@resolvers("Sweep", "runCount")
def run_count(sweep: SweepRow, context: Context) -> int:
    return context.store.runs.count(_project(sweep, context), {"sweep": sweep.name})


@resolvers("Sweep", "bestLoss")
def best_loss(sweep: SweepRow, context: Context) -> float | None:
    space = _space(sweep)
    if space is None or space.metric is None:
        return None
    order = f"{'-' if space.maximize else '+'}summary_metrics.{space.metric}"
    try:
        best = context.store.runs.page(
            _project(sweep, context), filters={"sweep": sweep.name}, order=order, first=1
        )
    except UnknownFieldError:
        return None  # no key can have the name of this metric
    summary = context.read_json(best.items[0].summary) if best.items else {}
    value = summary.get(space.metric)
    return value if isinstance(value, (int, float)) and value - value == 0 else None


@resolvers("Sweep", "searchMetric")
def search_metric(sweep: SweepRow, _context: Context) -> dict[str, str] | None:
    space = _space(sweep)
    if space is None or space.metric is None:
        return None
    return {"name": space.metric, "goal": "maximize" if space.maximize else "minimize"}


@resolvers("Sweep", "searchParameters")
def search_parameters(sweep: SweepRow, _context: Context) -> list[str]:
    space = _space(sweep)
    return [] if space is None else space.names


@resolvers("Sweep", "agents")
def agents(sweep: SweepRow, context: Context) -> Any:
    return unpaged(context.store.sweeps.agents(sweep))


@resolvers("Sweep", "agent")
def agent(sweep: SweepRow, context: Context, agent_name: str) -> Agent | None:
    for candidate in context.store.sweeps.agents(sweep):
        if agent_name in (candidate.name, encode_id("Agent", candidate.id)):
            return candidate
    return None


@resolvers("Sweep", "project")
def project_of(sweep: SweepRow, context: Context) -> ProjectRow:
    return _project(sweep, context)


@resolvers("Sweep", "user")
def author(sweep: SweepRow, context: Context) -> UserRow | None:
    return context.user(sweep.user_id)


@resolvers("Agent", "state")
def agent_state(agent: Agent, context: Context) -> str:
    return "CRASHED" if context.store.sweeps.is_silent(agent) else "RUNNING"


@resolvers("Agent", "runs")
def runs_of_agent(
    agent: Agent,
    context: Context,
    first: int | None = None,
    after: str | None = None,
    order: str | None = None,
    **_: Any,
) -> Any:
    sweep = context.store.sweeps.by_id(agent.sweep_id)
    if sweep is None:
        return None
    selected = {"name": {"$in": context.store.sweeps.run_names(agent)}}
    return run_connection(context, _project(sweep, context), selected, order, first, after)


def _space(sweep: SweepRow) -> SearchSpace | None:
    """The search space; None if the configuration is no longer valid: lists must still work."""
    try:
        return parse_space(sweep.config)
    except RequestError:
        return None


def _method(sweep: SweepRow) -> str | None:
    space = _space(sweep)
    return space.method if space else None


def _controller_run_name(sweep: SweepRow) -> str | None:
    """The run that a scheduler of the sweep logs its own console output to."""
    space = _space(sweep)
    return f"{sweep.name}-scheduler" if space and space.has_scheduler else None


def _expected_runs(sweep: SweepRow) -> int | None:
    space = _space(sweep)
    return None if space is None or space.size is None else int32(space.size)


def _sweep_by_id(context: Context, sweep_id: str) -> SweepRow:
    sweep = context.store.sweeps.by_id(row_id("Sweep", sweep_id))
    if sweep is None or not context.may_see_project(sweep.project_id):
        raise RequestError("sweep not found", 404)
    return sweep


def _project(sweep: SweepRow, context: Context) -> ProjectRow:
    project = context.store.projects.by_id(sweep.project_id)
    if project is None:
        raise RequestError("the project of this sweep has been deleted", 404)
    return project


resolvers.fields(
    "Sweep",
    id=lambda sweep: encode_id("Sweep", sweep.id),
    method=_method,
    controllerRunName=_controller_run_name,
    runCountExpected=_expected_runs,
    earlyStopJobRunning=lambda _: False,
    heartbeatAt=lambda sweep: sweep.updated_at,
)
resolvers.fields("Agent", id=lambda agent: encode_id("Agent", agent.id))
