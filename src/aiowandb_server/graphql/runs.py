"""Runs: list, find, upsert, resume."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson

from aiowandb_server.errors import RequestError
from aiowandb_server.graphql.projects import ensure_project, find_project, require_project
from aiowandb_server.graphql.resolving import Resolvers, connection, page_size
from aiowandb_server.graphql.scalars import encode_id, int32, names_of_run, row_id
from aiowandb_server.store import json_text
from aiowandb_server.store.filters import fields_of
from aiowandb_server.store.records import RunChanges
from aiowandb_server.store.run_fields import asks_for_keys

if TYPE_CHECKING:
    from aiowandb_server.graphql.context import Context
    from aiowandb_server.store.records import ProjectRow, RunRow, UserRow

resolvers = Resolvers()

_TIMES = range(int(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()) + 1)
# Enough for 100,000 ids.
_MAX_FILTER = 2 * 2**20
# In characters: to parse so much of a filter takes as long as a field.
_FILTER_A_FIELD = 50


def run_by_storage_id(context: Context, storage_id: str) -> RunRow:
    """The run with this id; a 404 if it does not exist or the viewer may not see it."""
    run = find_run(context, storage_id)
    if run is None:
        raise RequestError("run not found", 404)
    return run


def find_run(context: Context, storage_id: str) -> RunRow | None:
    """The run with this id, or None if it does not exist or the viewer may not see it.

    Besides our own ids it accepts those that W&B's clients make from names.
    """
    if (names := names_of_run(storage_id)) is not None:
        name, project_name, entity = names
        project = find_project(context, project_name, entity)
        return context.store.runs.get(project, name) if project else None
    run = context.store.runs.by_id(row_id("Run", storage_id))
    return run if run and context.may_see(run.entity) else None


def require_run(context: Context, name: str, project: str | None, entity: str | None) -> RunRow:
    run = context.store.runs.get(require_project(context, project, entity), name)
    if run is None:
        raise RequestError(f"run {name!r} not found in project {project!r}", 404)
    return run


def run_connection(
    context: Context,
    project: ProjectRow,
    filters: Any,
    order: str | None,
    first: int | None,
    after: str | None,
) -> Any:
    """A page of the project's runs."""
    _count_keys(context, project, filters)
    page = context.store.runs.page(
        project, filters=filters, order=order, first=page_size(first), after=after or None
    )
    return connection(
        page.items,
        page.cursors,
        has_next=page.has_next,
        totalCount=lambda: context.store.runs.count(project, filters),
    )


def parse_filters(filters: str | None, context: Context) -> Any:
    """The filter in a JSON string; None, an empty string or null select all runs.

    It costs as much as fields do: in a list of lists, it is parsed and applied each time.
    """
    if not filters:
        return None
    context.count_field(len(filters) // _FILTER_A_FIELD)
    if len(filters) > _MAX_FILTER:
        raise RequestError(f"filters may have at most {_MAX_FILTER} characters", 413)
    try:
        parsed = orjson.loads(filters)
        # JSON has no infinity: `1e999` must not be read as one.
        orjson.loads(json.dumps(parsed, allow_nan=False))
    except (ValueError, RecursionError) as error:
        raise RequestError(f"filters are not JSON: {error}") from error
    return parsed


@resolvers("Project", "runCount")
def run_count(project: ProjectRow, context: Context, filters: str | None = None) -> int:
    selected = parse_filters(filters, context)
    _count_keys(context, project, selected)
    return context.store.runs.count(project, selected)


@resolvers("Project", "runs")
def list_runs(
    project: ProjectRow,
    context: Context,
    filters: str | None = None,
    after: str | None = None,
    first: int | None = None,
    order: str | None = None,
) -> Any:
    return run_connection(context, project, parse_filters(filters, context), order, first, after)


@resolvers("Project", "run")
def run(project: ProjectRow, context: Context, name: str, **_: Any) -> RunRow | None:
    return context.store.runs.get(project, name)


@resolvers("Project", "bucket")
def old_run(
    project: ProjectRow,
    context: Context,
    name: str,
    missing_ok: bool | None = None,
) -> RunRow | None:
    found = context.store.runs.get(project, name)
    if found is None and not missing_ok:
        raise RequestError(f"run {name!r} not found in {project.entity}/{project.name}", 404)
    return found


@resolvers.mutation("upsertBucket")
def upsert_bucket(context: Context, bucket: dict[str, Any]) -> dict[str, Any]:
    changes = RunChanges(
        display_name=bucket.get("displayName"),
        state=bucket.get("state"),
        user_id=_author(context, bucket.get("username")),
        sweep=bucket.get("sweep"),
        group=bucket.get("groupName"),
        job_type=bucket.get("jobType"),
        host=bucket.get("host"),
        program=bucket.get("jobProgram"),
        repo=bucket.get("jobRepo"),
        git_commit=bucket.get("commit"),
        tags=bucket.get("tags"),
        notes=bucket.get("notes"),
        description=bucket.get("description"),
        config=bucket.get("config"),
        summary=bucket.get("summaryMetrics"),
        created_at=_seconds(bucket.get("createdAt")),
        heartbeat_at=_seconds(bucket.get("heartbeatAt")),
    )
    if bucket.get("id"):
        known = run_by_storage_id(context, bucket["id"])
        if not (bucket.get("username") and context.viewer.is_admin):
            # The author of a run is the user who created it, not one who changes it later.
            changes = dataclasses.replace(changes, user_id=None)
        changed, inserted = context.store.runs.change(known.id, changes), False
    else:
        project, _ = ensure_project(context, bucket.get("modelName"), bucket.get("entityName"))
        changed, inserted = context.store.runs.upsert(project, bucket.get("name"), changes)
    return {"bucket": changed, "inserted": inserted}


def _author(context: Context, username: str | None) -> int:
    """The author to set: the viewer, or for a copied run the author of the original."""
    if not username or username == context.viewer.username:
        return context.viewer.id
    if not context.viewer.is_admin:
        raise RequestError("only administrators can set the author of a run", 403)
    return context.store.accounts.ensure_user(username).id


def _seconds(moment: str | None) -> int | None:
    if moment is None:
        return None
    try:
        known = datetime.fromisoformat(moment)
    except ValueError:
        raise RequestError(f"{moment!r} is not a valid time") from None
    seconds = int((known if known.tzinfo else known.replace(tzinfo=UTC)).timestamp())
    if seconds not in _TIMES:
        # It could be stored, and no list that has it could be read.
        raise RequestError(f"{moment!r} is not between 1970 and 9999, in UTC")
    return seconds


@resolvers("Run", "user")
def author(run: RunRow, context: Context) -> UserRow | None:
    return context.user(run.user_id)


@resolvers("Run", "project")
def project_of(run: RunRow, context: Context) -> ProjectRow:
    project = context.store.projects.by_id(run.project_id)
    if project is None:
        raise RequestError("the project of this run has been deleted", 404)
    return project


@resolvers("Run", "systemMetrics")
def system_metrics(run: RunRow, context: Context) -> str:
    last = context.read_json(context.store.history.tail(run, "events") or "{}")
    return json_text.dumps({key: item for key, item in last.items() if key.startswith("system.")})


@resolvers("Run", "historyTail")
def history_tail(run: RunRow, context: Context) -> str:
    return _tail(context.store.history.tail(run, "history"))


@resolvers("Run", "eventsTail")
def events_tail(run: RunRow, context: Context) -> str:
    return _tail(context.store.history.tail(run, "events"))


@resolvers("Run", "wandbConfig")
def wandb_config(run: RunRow, context: Context, keys: list[str] | None = None) -> str:
    entry = context.read_json(run.config).get("_wandb")
    values = entry.get("value") if isinstance(entry, dict) else None
    if not isinstance(values, dict):
        values = {}
    return json_text.dumps({k: item for k, item in values.items() if keys is None or k in keys})


def _count_keys(context: Context, project: ProjectRow, filters: Any) -> None:
    if any(map(asks_for_keys, fields_of(filters))):
        context.store.history.count_all_keys(project.id)


def _tail(line: str | None) -> str:
    return json.dumps([line] if line is not None else [])


resolvers.fields(
    "Run",
    id=lambda run: encode_id("Run", run.id),
    projectId=lambda run: run.project_id,
    summaryMetrics=lambda run: run.summary,
    tags=lambda run: orjson.loads(run.tags),
    commit=lambda run: run.git_commit,
    sweepName=lambda run: run.sweep,
    readOnly=lambda _: False,
    updatedAt=lambda run: run.heartbeat_at,
    exitcode=lambda run: None if run.exit_code is None else int32(run.exit_code),
    running=lambda run: run.state == "running",
    failed=lambda run: run.state in ("failed", "crashed"),
    shouldStop=lambda run: run.stop_requested,
    stopped=lambda run: run.stop_requested,
    historyLineCount=lambda run: int32(run.history_lines),
    eventsLineCount=lambda run: int32(run.event_lines),
    logLineCount=lambda run: int32(run.console_lines),
)
