"""What is asked of W&B about runs: one of them, or a page of a project's, or how many."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec
import orjson

from aiowandb.choices import RunField
from aiowandb.paths import RunRef
from aiowandb.wire.connection import Connection
from aiowandb.wire.graphql import Operation
from aiowandb.wire.history import alias, many_runs, variables_of
from aiowandb.wire.record import ALL_FIELDS, GRAPHQL_NAMES, RunRecord


def run_fields(parts: Collection[RunField] = ALL_FIELDS) -> str:
    """The fragment `RunFields`. Asking for a part run by run would cost a request each time."""
    chosen = " ".join(field for part, field in GRAPHQL_NAMES.items() if part in parts)
    return f"""
fragment RunFields on Run {{
  id name displayName state tags group jobType commit readOnly notes description
  createdAt heartbeatAt sweepName historyLineCount user {{ name username }} {chosen}
}}"""


_RUNS = """
query Runs($entity: String!, $project: String!, $filters: JSONString, $order: String,
           $perPage: Int, $cursor: String) {
  project(name: $project, entityName: $entity) {
    runCount(filters: $filters)
    runs(filters: $filters, order: $order, first: $perPage, after: $cursor) {
      edges { node { ...RunFields } cursor }
      pageInfo { hasNextPage }
    }
  }
}"""

_RUN = """
query Run($entity: String!, $project: String!, $name: String!) {
  project(name: $project, entityName: $entity) { run(name: $name) { ...RunFields } }
}"""

_RUN_STATE = """
query RunState($entity: String!, $project: String!, $name: String!) {
  project(name: $project, entityName: $entity) { run(name: $name) { state } }
}"""

_RUN_COUNT = """
query RunCount($entity: String!, $project: String!, $filters: JSONString) {
  project(name: $project, entityName: $entity) { runCount(filters: $filters) }
}"""


class RunsProject(msgspec.Struct, rename="camel"):
    runs: Connection[RunRecord]
    run_count: int | None = None


class RunsData(msgspec.Struct):
    project: RunsProject | None


class RunCountProject(msgspec.Struct, rename="camel"):
    run_count: int


class RunCountData(msgspec.Struct):
    project: RunCountProject | None


class RunProject(msgspec.Struct):
    run: RunRecord | None


class RunState(msgspec.Struct):
    state: str


class RunStateProject(msgspec.Struct):
    run: RunState | None


class RunStateData(msgspec.Struct):
    project: RunStateProject | None


class RunData(msgspec.Struct):
    project: RunProject | None


class RunQuery(msgspec.Struct, frozen=True):
    """Which runs, in which order, how many at a time, and what is asked of each."""

    filters: Mapping[str, Any] = {}
    order: str = "-created_at"
    per_page: int = 50
    parts: Collection[RunField] = ALL_FIELDS


def list_runs(
    entity: str, project: str, query: RunQuery, cursor: str | None
) -> Operation[RunsData]:
    """A page of a project's runs, behind the cursor."""
    variables = {
        "entity": entity,
        "project": project,
        "filters": _filters_text(query.filters),
        "order": query.order,
        "perPage": query.per_page,
        "cursor": cursor,
    }
    return Operation("Runs", _RUNS + run_fields(query.parts), variables, RunsData)


def count_runs(entity: str, project: str, filters: Mapping[str, Any]) -> Operation[RunCountData]:
    variables = {"entity": entity, "project": project, "filters": _filters_text(filters)}
    return Operation("RunCount", _RUN_COUNT, variables, RunCountData)


def run_state(ref: RunRef) -> Operation[RunStateData]:
    variables = {"entity": ref.entity, "project": ref.project, "name": ref.run}
    return Operation("RunState", _RUN_STATE, variables, RunStateData)


def get_run(ref: RunRef) -> Operation[RunData]:
    variables = {"entity": ref.entity, "project": ref.project, "name": ref.run}
    return Operation("Run", _RUN + run_fields(), variables, RunData)


def _filters_text(filters: Mapping[str, Any]) -> str:
    return orjson.dumps(filters).decode()


class StorageId(msgspec.Struct):
    id: str


class StorageIds(msgspec.Struct):
    # One member a run, by the alias that the document gave it.
    project: dict[str, StorageId | None] | None


def storage_ids(refs: Sequence[RunRef]) -> Operation[StorageIds]:
    """Ask in one request which of many runs of a project there are."""
    document = many_runs("StorageIds", [(f"${alias(i)}: String!", "id") for i in range(len(refs))])
    return Operation("StorageIds", document, variables_of(refs), StorageIds)
