"""Queries of runs: one run, a page of the runs of a project, their number."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec
import orjson

from aiowandb.choices import RunField
from aiowandb.errors import NotFoundError
from aiowandb.paths import RunRef
from aiowandb.wire.connection import Connection
from aiowandb.wire.graphql import Operation
from aiowandb.wire.history import alias, many_runs, of_run, variables_of
from aiowandb.wire.lenient import Int64
from aiowandb.wire.record import ALL_FIELDS, GRAPHQL_NAMES, RunRecord

_COUNTS = "eventsLineCount logLineCount fileCount"
_ARTIFACTS = "countedArtifacts: outputArtifacts(first: 1) { totalCount }"


def run_fields(
    optional: Collection[RunField] = ALL_FIELDS, *, counts: bool = False, artifacts: bool = False
) -> str:
    """The fragment `RunFields`, with these of the fields that are large; `counts` are how many
    system metrics, console lines and files there are, and `artifacts` how many were logged.
    """
    chosen = " ".join(name for field, name in GRAPHQL_NAMES.items() if field in optional)
    chosen += f" {_COUNTS}" if counts else ""
    chosen += f" {_ARTIFACTS}" if artifacts else ""
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
  project(name: $project, entityName: $entity) { run(name: $name) { name state } }
}"""

_RUN_COUNT = """
query RunCount($entity: String!, $project: String!, $filters: JSONString) {
  project(name: $project, entityName: $entity) { runCount(filters: $filters) }
}"""


class RunsPage(msgspec.Struct, rename="camel"):
    """A page of a project's runs, and how many runs there are."""

    runs: Connection[RunRecord]
    run_count: Int64 | None = None


class RunQuery(msgspec.Struct, frozen=True):
    """Which runs, in which order, how many per page, with which of the large fields, and whether
    with the counts of what they have, and of the artifacts that they have logged.
    """

    filters: Mapping[str, Any] = {}
    order: str = "-created_at"
    per_page: int = 50
    fields: Collection[RunField] = ALL_FIELDS
    counts: bool = False
    artifacts: bool = False


def list_runs(
    entity: str, project: str, query: RunQuery, cursor: str | None
) -> Operation[RunsPage | None]:
    """A page of a project's runs, after the cursor."""
    variables = {
        "entity": entity,
        "project": project,
        "filters": filters_text(query.filters),
        "order": query.order,
        "perPage": query.per_page,
        "cursor": cursor,
    }
    document = _RUNS + run_fields(query.fields, counts=query.counts, artifacts=query.artifacts)
    return Operation("Runs", document, variables, RunsPage, at=("project?",))


def count_runs(entity: str, project: str, filters: Mapping[str, Any]) -> Operation[int | None]:
    variables = {"entity": entity, "project": project, "filters": filters_text(filters)}
    return Operation("RunCount", _RUN_COUNT, variables, int, at=("project?", "runCount"))


def run_state(ref: RunRef) -> Operation[str | None]:
    variables = {"entity": ref.entity, "project": ref.project, "name": ref.run}
    return Operation(
        "RunState", _RUN_STATE, variables, str, ("project?", "run?", "state"), of_run(ref)
    )


def get_run(ref: RunRef) -> Operation[RunRecord | None]:
    variables = {"entity": ref.entity, "project": ref.project, "name": ref.run}
    document, path = _RUN + run_fields(), ("project?", "run?")
    return Operation("Run", document, variables, RunRecord, path, of_run(ref))


def filters_text(filters: Mapping[str, Any]) -> str:
    return orjson.dumps(filters).decode()


class StorageId(msgspec.Struct):
    id: str
    name: str | None = None


# The ids by the alias of each run in the document.
StorageIds: TypeAlias = dict[str, StorageId | None]


def storage_ids(refs: Sequence[RunRef]) -> Operation[StorageIds | None]:
    """Ask which of these runs of a project exist, in one request."""
    document = many_runs("StorageIds", [(f"${alias(i)}: String!", "id") for i in range(len(refs))])
    return Operation("StorageIds", document, variables_of(refs), StorageIds, at=("project?",))


def run_not_found(ref: RunRef, operation: str | None = None) -> NotFoundError:
    """The error for a run that does not exist, or that the user may not see."""
    return NotFoundError(f"Could not find run {ref}.", operation=operation)
