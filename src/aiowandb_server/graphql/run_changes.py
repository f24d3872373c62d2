"""Mutations of runs other than upserts: delete, stop, requeue, rewind, alert."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiowandb_server.errors import RequestError
from aiowandb_server.graphql.resolving import Resolvers
from aiowandb_server.graphql.runs import find_run, require_run, run_by_storage_id
from aiowandb_server.store.lines import MAX_STEP
from aiowandb_server.store.records import RunChanges

if TYPE_CHECKING:
    from aiowandb_server.graphql.context import Context

resolvers = Resolvers()

# For each new state, the states that a run may change from.
_TRANSITIONS = {
    "pending": frozenset({"running", "failed", "crashed", "preempted"}),
    "failed": frozenset({"pending", "running"}),
}


@resolvers.mutation("deleteRun")
def delete_run(context: Context, deletion: dict[str, Any]) -> dict[str, Any]:
    run = find_run(context, deletion["id"])
    if run is None:
        return {}  # clients repeat a mutation if its response was lost
    if deletion.get("deleteArtifacts"):
        artifacts = context.store.artifacts
        while made := artifacts.of_run(
            run.id, "output", entities=context.entities, first=1000
        ).items:
            for artifact in made:
                artifacts.delete(artifact, with_aliases=True)
    context.store.runs.delete(run.id)
    return {}


@resolvers.mutation("stopRun")
def stop_run(context: Context, stop: dict[str, Any]) -> dict[str, Any]:
    run = run_by_storage_id(context, stop["id"])
    if run.state in ("running", "pending", "preempting"):
        context.store.runs.request_stop(run.id)
    return {"success": True}


@resolvers.mutation("updateRunState")
def update_run_state(context: Context, change: dict[str, Any]) -> dict[str, Any]:
    run = run_by_storage_id(context, change["id"])
    state = change["state"]
    if run.sweep is not None:
        raise RequestError("invalid state transition: the sweep sets the state of its runs")
    if run.state not in _TRANSITIONS.get(state, ()):
        raise RequestError(f"invalid state transition: from {run.state} to {state}")
    context.store.runs.change(run.id, RunChanges(state=state))
    return {"success": True}


@resolvers.mutation("rewindRun")
def rewind_run(context: Context, rewind: dict[str, Any]) -> dict[str, Any]:
    run = require_run(
        context, rewind["runName"], rewind.get("projectName"), rewind.get("entityName")
    )
    if rewind["metricName"] != "_step":
        raise RequestError(f"runs can only be rewound by _step, not by {rewind['metricName']!r}")
    if not abs(rewind["metricValue"]) < MAX_STEP:
        raise RequestError(f"{rewind['metricValue']} is not a step")
    context.store.history.rewind(run, int(rewind["metricValue"]))
    return {"rewoundRun": context.store.runs.by_id(run.id)}


@resolvers.mutation("notifyScriptableRunAlert")
def notify(context: Context, alert: dict[str, Any]) -> dict[str, Any]:
    run = require_run(context, alert["runName"], alert.get("projectName"), alert.get("entityName"))
    severity = alert.get("severity") or "INFO"
    context.store.alerts.add(run, alert["title"], alert["text"], severity)
    return {"success": True}
