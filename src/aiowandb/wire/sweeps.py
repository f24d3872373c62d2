"""Queries of sweeps, and the order of their runs."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, TypeAlias

import msgspec

from aiowandb.errors import ServerError, extra_needed
from aiowandb.paths import RunRef
from aiowandb.wire import lenient
from aiowandb.wire.connection import Connection
from aiowandb.wire.graphql import About, Operation, is_same
from aiowandb.wire.lenient import Int64, as_utc

_FIELDS = """
fragment SweepFields on Sweep {
  id name displayName method state description bestLoss config createdAt updatedAt
  runCount runCountExpected
}"""

_SWEEP = f"""
query GetSweep($entity: String!, $project: String!, $name: String!) {{
  project(name: $project, entityName: $entity) {{ sweep(sweepName: $name) {{ ...SweepFields }} }}
}}{_FIELDS}"""

_SWEEPS = f"""
query GetSweeps($entity: String!, $project: String!, $perPage: Int, $cursor: String DECLARED) {{
  project(name: $project, entityName: $entity) {{
    totalSweeps
    sweeps(first: $perPage, after: $cursor GIVEN) {{
      edges {{ node {{ ...SweepFields }} }}
      pageInfo {{ endCursor hasNextPage }}
    }}
  }}
}}{_FIELDS}"""

_AGENTS = """
query GetSweepAgents($entity: String!, $project: String!, $name: String!) {
  project(name: $project, entityName: $entity) {
    sweep(sweepName: $name) {
      name agents { edges { node { id name host state totalRuns createdAt heartbeatAt } } }
    }
  }
}"""

_ENQUEUE = """
mutation EnqueueSweepRun($id: ID!, $config: JSONString!, $displayName: String) {
  enqueueSweepRun(input: {id: $id, config: $config, displayName: $displayName}) { id }
}"""

_COLUMNS = frozenset({"createdAt", "updatedAt", "name", "sweep"})
_PREFIXES = frozenset({"config", "summary_metrics", "tags"})


class SweepRecord(msgspec.Struct, frozen=True, kw_only=True, dict=True, rename="camel"):
    """A sweep. `id` is the short id in its URL, `config_text` its configuration in YAML."""

    storage_id: str = msgspec.field(name="id")
    id: str = msgspec.field(name="name")
    display_name: str | None = None
    method: str | None = None
    state: str | None = None
    description: str | None = None
    best_loss: float | None = None
    config_text: str = msgspec.field(name="config", default="")
    created_at: datetime | None = None
    updated_at: datetime | None = None
    run_count: Int64 | None = None
    expected_run_count: Int64 | None = msgspec.field(name="runCountExpected", default=None)
    # Not in the response: the caller fills them in.
    entity: str = ""
    project: str = ""

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "created_at", as_utc(self.created_at))
        msgspec.structs.force_setattr(self, "updated_at", as_utc(self.updated_at))

    @cached_property
    def config(self) -> dict[str, Any]:
        """The configuration, decoded. Needs PyYAML: `pip install 'aiowandb[sweeps]'`."""
        with extra_needed("sweeps", "config of a sweep, which is YAML as in config_text,"):
            yaml = importlib.import_module("yaml")
        try:
            found = yaml.safe_load(self.config_text)
        except yaml.YAMLError as error:
            raise ServerError(
                f"The configuration of sweep {self.id} is not valid YAML: {error}"
            ) from error
        return found if isinstance(found, dict) else {}

    @property
    def name(self) -> str:
        """The name that it was given, or its id."""
        return self.display_name or self.config.get("name") or self.id

    @property
    def order(self) -> str | None:
        """The order that puts the best run first, or None if no metric is configured."""
        metric = self.config.get("metric")
        if not isinstance(metric, Mapping) or "name" not in metric:
            return None
        sign = "-" if metric.get("goal") == "maximize" else "+"
        return order_key(f"{sign}{metric['name']}")

    @property
    def path(self) -> list[str]:
        """Entity, project and id; `api.sweep()` takes it."""
        return [self.entity, self.project, self.id]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.entity}/{self.project}/{self.id} ({self.state})>"


class SweepAgent(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An agent of a sweep: a process that runs what the sweep gives it. `id` is its name at W&B.

    `total_runs` counts the runs that it was given.
    """

    storage_id: str = msgspec.field(name="id")
    id: str = msgspec.field(name="name")
    host: str | None = None
    state: str | None = None
    total_runs: Int64 | None = None
    created_at: datetime | None = None
    heartbeat_at: datetime | None = None

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "created_at", as_utc(self.created_at))
        msgspec.structs.force_setattr(self, "heartbeat_at", as_utc(self.heartbeat_at))


class SweepsPage(msgspec.Struct, rename="camel"):
    """A page of a project's sweeps, and how many there are."""

    sweeps: Connection[SweepRecord]
    total_sweeps: Int64 = 0


def order_key(text: str) -> str:
    """The order of a sweep's runs: a name that is not a column is a metric, highest first.

    >>> order_key("val.acc"), order_key("+loss"), order_key("-config.lr")
    ('-summary_metrics.val.acc', '+summary_metrics.loss', '-config.lr')
    """
    sign, key = (text[0], text[1:]) if text.startswith(("+", "-")) else ("-", text)
    head, dot, _ = key.partition(".")
    is_known = head in (_PREFIXES if dot else _COLUMNS)
    return f"{sign}{key}" if is_known else f"{sign}summary_metrics.{key}"


def _of_sweep(ref: RunRef) -> About:
    return About("sweep", "name", ref.run)


def get_sweep(ref: RunRef) -> Operation[SweepRecord | None]:
    variables = {"entity": ref.entity, "project": ref.project, "name": ref.run}
    return Operation(
        "GetSweep", _SWEEP, variables, SweepRecord, ("project?", "sweep?"), _of_sweep(ref)
    )


def list_sweeps(
    entity: str,
    project: str,
    per_page: int,
    cursor: str | None,
    filters: Mapping[str, Any] | None = None,
) -> Operation[SweepsPage | None]:
    """A page of a project's sweeps; servers before 0.81.4 do not know `filters`."""
    variables: dict[str, Any] = {
        "entity": entity,
        "project": project,
        "perPage": per_page,
        "cursor": cursor,
    }
    declared = given = ""
    if filters:
        declared, given = ", $filters: JSONString", ", filters: $filters"
        variables["filters"] = msgspec.json.encode(filters).decode()
    document = _SWEEPS.replace(" DECLARED", declared).replace(" GIVEN", given)
    return Operation("GetSweeps", document, variables, SweepsPage, at=("project?",))


class RunOfSweep(msgspec.Struct, frozen=True, rename="camel"):
    name: str
    sweep_name: str | None = None


# The best runs of sweeps, by the alias of each sweep in the document.
BestRuns: TypeAlias = dict[str, Connection[RunOfSweep] | None]


def best_runs(
    entity: str, project: str, sweeps: Sequence[tuple[str, str]]
) -> Operation[BestRuns | None]:
    """The first runs of many sweeps, given by their ids and orders, in one request."""
    variables: dict[str, Any] = {"entity": entity, "project": project}
    declared, asked = [], []
    for i, (sweep, order) in enumerate(sweeps):
        variables |= {f"f{i}": lenient.dumps({"sweep": sweep}), f"o{i}": order}
        declared.append(f"$f{i}: JSONString, $o{i}: String")
        first = f"runs(filters: $f{i}, order: $o{i}, first: 1)"
        asked.append(f"s{i}: {first} {{ edges {{ node {{ name sweepName }} }} }}")
    document = (
        f"query BestRuns($entity: String!, $project: String!, {', '.join(declared)}) {{"
        f" project(name: $project, entityName: $entity) {{ {' '.join(asked)} }} }}"
    )

    def differs(found: BestRuns) -> str | None:
        for i, (sweep, _) in enumerate(sweeps):
            runs = found.get(f"s{i}")
            for run in runs.nodes if runs else ():
                if not is_same(run.sweep_name, sweep):
                    return f"run {run.name} of sweep {run.sweep_name}, not {sweep}"
        return None

    path = ("project?",)
    return Operation("BestRuns", document, variables, BestRuns, path, differs=differs)


def sweep_agents(ref: RunRef) -> Operation[Connection[SweepAgent] | None]:
    """The agents of a sweep, which come in one page."""
    variables = {"entity": ref.entity, "project": ref.project, "name": ref.run}
    path = ("project?", "sweep?", "agents")
    return Operation(
        "GetSweepAgents", _AGENTS, variables, Connection[SweepAgent], path, _of_sweep(ref)
    )


def enqueue_sweep_run(
    storage_id: str, config: Mapping[str, Any], display_name: str | None
) -> Operation[str]:
    """Add a run with this configuration to a sweep; returns the run's id."""
    wrapped = {key: {"value": value} for key, value in config.items()}
    variables = {"id": storage_id, "config": lenient.dumps(wrapped), "displayName": display_name}
    return Operation("EnqueueSweepRun", _ENQUEUE, variables, str, at=("enqueueSweepRun", "id"))
