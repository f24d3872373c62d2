"""Runs as W&B tells of them: one run, or a page of a project's runs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import msgspec
import orjson

from aiowandb.paths import RunRef
from aiowandb.wire import lenient
from aiowandb.wire.graphql import Operation

# config, summary and the rest come with the page: asking for them run by run is
# what makes other clients need thousands of requests.
_RUN_FIELDS = """
fragment RunFields on Run {
  id name displayName state tags group jobType commit readOnly notes description
  createdAt heartbeatAt sweepName historyLineCount user { name username }
  config summaryMetrics systemMetrics historyKeys
}"""

_RUNS = (
    """
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
    + _RUN_FIELDS
)

_RUN_COUNT = """
query RunCount($entity: String!, $project: String!, $filters: JSONString) {
  project(name: $project, entityName: $entity) { runCount(filters: $filters) }
}"""

_RUN = (
    """
query Run($entity: String!, $project: String!, $name: String!) {
  project(name: $project, entityName: $entity) { run(name: $name) { ...RunFields } }
}"""
    + _RUN_FIELDS
)


class User(msgspec.Struct, frozen=True):
    """Who made a run."""

    name: str | None = None
    username: str | None = None


class TypeCount(msgspec.Struct, frozen=True):
    """How many values of one type a history key has."""

    type: str
    count: int = 0


class KeyInfo(msgspec.Struct, frozen=True, rename="camel"):
    """What W&B knows of one history key."""

    type_counts: list[TypeCount] = []


class HistoryKeys(msgspec.Struct, frozen=True, rename="camel"):
    """The keys of a run's history, nested ones flattened with dots, and its last step."""

    last_step: int = -1
    keys: dict[str, KeyInfo] = {}


class RunRecord(msgspec.Struct, kw_only=True, dict=True, eq=False, rename="camel"):
    """A run, decoded from the wire. The names are those of the W&B Python API.

    `id` is the short id in the run's URL, `name` the human name, `storage_id` the
    opaque one that W&B itself uses.
    """

    storage_id: str = msgspec.field(name="id")
    id: str = msgspec.field(name="name")
    name: str | None = msgspec.field(name="displayName", default=None)
    state: str | None = None
    tags: list[str] = []
    group: str | None = None
    job_type: str | None = None
    commit: str | None = None
    read_only: bool | None = None
    notes: str | None = None
    description: str | None = None
    created_at: datetime | None = None
    heartbeat_at: datetime | None = None
    sweep_name: str | None = None
    history_line_count: int | None = None
    user: User | None = None
    history_keys: HistoryKeys | None = None
    config_json: str | None = msgspec.field(name="config", default=None)
    summary_json: str | None = msgspec.field(name="summaryMetrics", default=None)
    system_json: str | None = msgspec.field(name="systemMetrics", default=None)
    # Not in the answer: whoever asked fills them in.
    entity: str = ""
    project: str = ""

    def __post_init__(self) -> None:
        self.created_at = _aware(self.created_at)
        self.heartbeat_at = _aware(self.heartbeat_at)

    @property
    def ref(self) -> RunRef:
        return RunRef(self.entity, self.project, self.id)

    @property
    def path(self) -> str:
        """`entity/project/id`, as `api.run()` takes it."""
        return str(self.ref)

    @cached_property
    def raw_config(self) -> dict[str, Any]:
        """The config as W&B stores it: each value wrapped, W&B's own keys included."""
        return _object(self.config_json)

    @cached_property
    def config(self) -> dict[str, Any]:
        """The config as the script gave it."""
        return {
            key: value["value"] if isinstance(value, dict) and "value" in value else value
            for key, value in self.raw_config.items()
            if key not in ("_wandb", "wandb_version")
        }

    @cached_property
    def summary(self) -> dict[str, Any]:
        """The last, best or chosen value of each metric; NaN and Infinity are floats."""
        return _object(self.summary_json)

    @cached_property
    def system_metrics(self) -> dict[str, Any]:
        """The latest system metrics."""
        return _object(self.system_json)

    @property
    def last_step(self) -> int:
        """The last step of the history, or -1 if there is none."""
        return self.history_keys.last_step if self.history_keys else -1

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path} ({self.state})>"


class RunEdge(msgspec.Struct):
    node: RunRecord
    cursor: str


class PageInfo(msgspec.Struct, rename="camel"):
    has_next_page: bool = False


class RunConnection(msgspec.Struct, rename="camel"):
    edges: list[RunEdge]
    page_info: PageInfo


class RunsProject(msgspec.Struct, rename="camel"):
    runs: RunConnection
    run_count: int | None = None


class RunsData(msgspec.Struct):
    project: RunsProject | None


class RunCountProject(msgspec.Struct, rename="camel"):
    run_count: int


class RunCountData(msgspec.Struct):
    project: RunCountProject | None


class RunProject(msgspec.Struct):
    run: RunRecord | None


class RunData(msgspec.Struct):
    project: RunProject | None


def list_runs(
    entity: str,
    project: str,
    *,
    filters: Mapping[str, Any],
    order: str,
    per_page: int,
    cursor: str | None,
) -> Operation[RunsData]:
    variables = {
        "entity": entity,
        "project": project,
        "filters": _filters_text(filters),
        "order": order,
        "perPage": per_page,
        "cursor": cursor,
    }
    return Operation("Runs", _RUNS, variables, RunsData)


def count_runs(entity: str, project: str, filters: Mapping[str, Any]) -> Operation[RunCountData]:
    variables = {"entity": entity, "project": project, "filters": _filters_text(filters)}
    return Operation("RunCount", _RUN_COUNT, variables, RunCountData)


def get_run(ref: RunRef) -> Operation[RunData]:
    variables = {"entity": ref.entity, "project": ref.project, "name": ref.run}
    return Operation("Run", _RUN, variables, RunData)


def _filters_text(filters: Mapping[str, Any]) -> str:
    return orjson.dumps(filters).decode()


def _object(text: str | None) -> dict[str, Any]:
    value = lenient.loads(text) if text else {}
    return value if isinstance(value, dict) else {}


def _aware(moment: datetime | None) -> datetime | None:
    # W&B writes UTC without saying so.
    return moment.replace(tzinfo=UTC) if moment and moment.tzinfo is None else moment
