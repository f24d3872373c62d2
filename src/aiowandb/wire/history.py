"""A run's history as W&B hands it out: Parquet files by URL, and pages of JSON rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import orjson

from aiowandb.paths import RunRef
from aiowandb.wire.graphql import Operation
from aiowandb.wire.record import HistoryKeys

_PLAN_FIELDS = """
fragment PlanFields on Run {
  historyKeys
  parquetHistory(liveKeys: ["_step"]) { parquetUrls liveData }
}"""

_HISTORY_PAGE = """
query HistoryPage($entity: String!, $project: String!, $run: String!,
                  $minStep: Int64!, $maxStep: Int64!, $pageSize: Int!) {
  project(name: $project, entityName: $entity) {
    run(name: $run) { history(minStep: $minStep, maxStep: $maxStep, samples: $pageSize) }
  }
}"""

_SAMPLED_HISTORY = """
query RunSampledHistory($entity: String!, $project: String!, $run: String!,
                        $specs: [JSONString!]!) {
  project(name: $project, entityName: $entity) {
    run(name: $run) { sampledHistory(specs: $specs) }
  }
}"""

_FULL_HISTORY = """
query RunFullHistory($entity: String!, $project: String!, $run: String!, $samples: Int) {
  project(name: $project, entityName: $entity) { run(name: $run) { history(samples: $samples) } }
}"""

_SYSTEM_HISTORY = """
query RunSystemHistory($entity: String!, $project: String!, $run: String!, $samples: Int) {
  project(name: $project, entityName: $entity) {
    run(name: $run) { history: events(samples: $samples) }
  }
}"""


class LiveRow(msgspec.Struct):
    step: int | float = msgspec.field(name="_step")


class ParquetHistory(msgspec.Struct, rename="camel"):
    parquet_urls: list[str] | None = None
    live_data: list[LiveRow] | None = None


class HistorySource(msgspec.Struct, rename="camel"):
    """Where one run's rows lie."""

    history_keys: HistoryKeys | None = None
    parquet_history: ParquetHistory | None = None


class PlansData(msgspec.Struct):
    # One member a run, by the alias that the document gave it.
    project: dict[str, HistorySource | None] | None


class RowTexts(msgspec.Struct):
    history: list[str] | None = None


class RowTextsProject(msgspec.Struct):
    run: RowTexts | None


class RowTextsData(msgspec.Struct):
    project: RowTextsProject | None


class SampledRows(msgspec.Struct, rename="camel"):
    sampled_history: list[list[dict[str, Any]]] | None = None


class SampledProject(msgspec.Struct):
    run: SampledRows | None


class SampledData(msgspec.Struct):
    project: SampledProject | None


def alias(index: int) -> str:
    """The name under which the run at this index comes back from `history_plans`."""
    return f"r{index}"


def history_plans(entity: str, project: str, runs: Sequence[str]) -> Operation[PlansData]:
    """Ask in one request where the histories of many runs of a project lie."""
    declared = "".join(f", ${alias(i)}: String!" for i in range(len(runs)))
    asked = " ".join(
        f"{alias(i)}: run(name: ${alias(i)}) {{ ...PlanFields }}" for i in range(len(runs))
    )
    document = (
        f"query HistoryPlans($entity: String!, $project: String!{declared}) {{"
        f" project(name: $project, entityName: $entity) {{ {asked} }} }}{_PLAN_FIELDS}"
    )
    variables = {"entity": entity, "project": project}
    variables |= {alias(i): run for i, run in enumerate(runs)}
    return Operation("HistoryPlans", document, variables, PlansData)


def history_page(ref: RunRef, first_step: int, end_step: int) -> Operation[RowTextsData]:
    """The rows whose step lies in `[first_step, end_step)`, all keys."""
    variables = _of(ref) | {
        "minStep": first_step,
        "maxStep": end_step,
        "pageSize": end_step - first_step,
    }
    return Operation("HistoryPage", _HISTORY_PAGE, variables, RowTextsData)


def sampled_keys(ref: RunRef, keys: Sequence[str], samples: int) -> Operation[SampledData]:
    """At most `samples` of the rows that have all of `keys`."""
    spec = orjson.dumps({"keys": list(keys), "samples": samples}).decode()
    return Operation(
        "RunSampledHistory", _SAMPLED_HISTORY, _of(ref) | {"specs": [spec]}, SampledData
    )


def sampled_rows(ref: RunRef, samples: int, *, system: bool = False) -> Operation[RowTextsData]:
    """At most `samples` rows with all their keys, of the history or of the system metrics."""
    name, document = (
        ("RunSystemHistory", _SYSTEM_HISTORY) if system else ("RunFullHistory", _FULL_HISTORY)
    )
    return Operation(name, document, _of(ref) | {"samples": samples}, RowTextsData)


def _of(ref: RunRef) -> dict[str, Any]:
    return {"entity": ref.entity, "project": ref.project, "run": ref.run}
