"""Queries of histories: links to Parquet files, and pages of JSON rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import msgspec

from aiowandb.paths import RunRef
from aiowandb.redaction import WithLinks
from aiowandb.wire import lenient
from aiowandb.wire.graphql import About, Operation
from aiowandb.wire.lenient import Int64
from aiowandb.wire.record import HistoryKeys

_PLAN_FIELDS = """
fragment PlanFields on Run {
  historyKeys historyLineCount
  parquetHistory(liveKeys: ["_step"]) { parquetUrls liveData }
}"""

_SAMPLED_HISTORY = """
query RunSampledHistory($entity: String!, $project: String!, $run: String!,
                        $specs: [JSONString!]!) {
  project(name: $project, entityName: $entity) {
    run(name: $run) { name sampledHistory(specs: $specs) }
  }
}"""

_FULL_HISTORY = """
query RunFullHistory($entity: String!, $project: String!, $run: String!, $samples: Int) {
  project(name: $project, entityName: $entity) {
    run(name: $run) { name history(samples: $samples) }
  }
}"""

_SYSTEM_HISTORY = """
query RunSystemHistory($entity: String!, $project: String!, $run: String!, $samples: Int) {
  project(name: $project, entityName: $entity) {
    run(name: $run) { name history: events(samples: $samples) }
  }
}"""


class LiveRow(msgspec.Struct):
    step: Int64 | float = msgspec.field(name="_step")


class ParquetHistory(WithLinks, msgspec.Struct, rename="camel"):
    parquet_urls: list[str] | None = None
    live_data: list[LiveRow] | None = None


class HistorySource(msgspec.Struct, rename="camel"):
    """Where one run's rows are, and how many there are."""

    name: str | None = None
    history_keys: HistoryKeys | None = None
    history_line_count: Int64 | None = None
    parquet_history: ParquetHistory | None = None
    # The rows of the window that was asked for with the plan.
    history: list[str] | None = None

    @property
    def files(self) -> list[str]:
        """The links to the Parquet files."""
        return (self.parquet_history and self.parquet_history.parquet_urls) or []

    @property
    def live_rows(self) -> list[LiveRow]:
        """Rows that are in no file yet, at least the first of them."""
        return (self.parquet_history and self.parquet_history.live_data) or []


class RowTexts(msgspec.Struct):
    name: str | None = None
    history: list[str] | None = None


class Window(msgspec.Struct, frozen=True):
    """The rows of a run with a step in `[first, end)`, at most `samples` of them."""

    ref: RunRef
    first: int
    end: int
    samples: int


class SampledRows(msgspec.Struct, rename="camel"):
    """A sample of the rows of a run: all their keys as texts, or certain keys of them."""

    name: str | None = None
    history: list[str] | None = None
    sampled_history: list[list[dict[str, Any]]] | None = None


class Sample(msgspec.Struct, frozen=True):
    """At most `samples` rows of a run, of its system metrics, or of rows that have all `keys`."""

    ref: RunRef
    samples: int
    keys: tuple[str, ...] = ()
    system: bool = False


# The answers about many runs of a project, by the alias of each run in the document.
HistorySources: TypeAlias = dict[str, HistorySource | None]
RowTextsByAlias: TypeAlias = dict[str, RowTexts | None]
SamplesByAlias: TypeAlias = dict[str, SampledRows | None]
_RUN = ("project?", "run?")


def alias(index: int) -> str:
    """The alias of the run at this index of a batch."""
    return f"r{index}"


def history_plans(
    refs: Sequence[RunRef], windows: Sequence[Window | None] = ()
) -> Operation[HistorySources | None]:
    """Ask where the rows of many runs of a project are, in one request.

    For runs with a window, ask for the rows there, too.
    """
    each, variables = [], variables_of(refs)
    for i in range(len(refs)):
        declared, asked = f"${alias(i)}: String!", "...PlanFields"
        if i < len(windows) and (window := windows[i]):
            declared, asked = f"{declared}, {_window_variables(i)}", f"{asked} {_window(i)}"
            variables |= _window_values(i, window)
        each.append((declared, asked))
    document = many_runs("HistoryPlans", each) + _PLAN_FIELDS
    return Operation("HistoryPlans", document, variables, HistorySources, at=("project?",))


def history_pages(windows: Sequence[Window]) -> Operation[RowTextsByAlias | None]:
    """Ask for rows of many runs of a project, or for many windows of one, in one request."""
    each = [
        (f"${alias(i)}: String!, {_window_variables(i)}", _window(i)) for i in range(len(windows))
    ]
    variables = variables_of([window.ref for window in windows])
    for i, window in enumerate(windows):
        variables |= _window_values(i, window)
    document = many_runs("HistoryPages", each)
    return Operation("HistoryPages", document, variables, RowTextsByAlias, at=("project?",))


def _window_variables(i: int) -> str:
    return f"$a{i}: Int64!, $b{i}: Int64!, $n{i}: Int!"


def _window(i: int) -> str:
    return f"history(minStep: $a{i}, maxStep: $b{i}, samples: $n{i})"


def _window_values(i: int, window: Window) -> dict[str, Any]:
    return {f"a{i}": window.first, f"b{i}": window.end, f"n{i}": window.samples}


def sample_run(sample: Sample) -> Operation[SampledRows | None]:
    """Ask for a sample of one run."""
    if not sample.keys:
        return sampled_rows(sample.ref, sample.samples, system=sample.system)
    variables = _of(sample.ref) | {"specs": _specs(sample)}
    return Operation(
        "RunSampledHistory", _SAMPLED_HISTORY, variables, SampledRows, _RUN, of_run(sample.ref)
    )


def sample_runs(samples: Sequence[Sample]) -> Operation[SamplesByAlias | None]:
    """Ask for samples of many runs of a project, all of one kind, in one request."""
    first = samples[0]
    variables = variables_of([sample.ref for sample in samples])
    if first.keys:
        kind, field = "[JSONString!]!", "sampledHistory(specs: $x{})"
        variables |= {f"x{i}": _specs(sample) for i, sample in enumerate(samples)}
    else:
        field = "history: events(samples: $x{})" if first.system else "history(samples: $x{})"
        kind = "Int"
        variables |= {f"x{i}": sample.samples for i, sample in enumerate(samples)}
    each = [(f"${alias(i)}: String!, $x{i}: {kind}", field.format(i)) for i in range(len(samples))]
    document = many_runs("HistorySamples", each)
    return Operation("HistorySamples", document, variables, SamplesByAlias, at=("project?",))


def sampled_rows(
    ref: RunRef, samples: int, *, system: bool = False
) -> Operation[SampledRows | None]:
    """At most `samples` rows with all their keys, of the history or of the system metrics."""
    name, document = (
        ("RunSystemHistory", _SYSTEM_HISTORY) if system else ("RunFullHistory", _FULL_HISTORY)
    )
    variables = _of(ref) | {"samples": samples}
    return Operation(name, document, variables, SampledRows, _RUN, of_run(ref))


def _specs(sample: Sample) -> list[str]:
    return [lenient.dumps({"keys": list(sample.keys), "samples": sample.samples})]


def many_runs(name: str, each: Sequence[tuple[str, str]]) -> str:
    """A document with a query of each of many runs in one project.

    Their names are requested too: `Operation.read` compares them with those that were asked for.
    """
    declared = ", ".join(declared for declared, _ in each)
    asked = " ".join(
        f"{alias(i)}: run(name: ${alias(i)}) {{ name {fields} }}"
        for i, (_, fields) in enumerate(each)
    )
    return (
        f"query {name}($entity: String!, $project: String!, {declared}) {{"
        f" project(name: $project, entityName: $entity) {{ {asked} }} }}"
    )


def of_run(ref: RunRef) -> About:
    """What a response about one run is about."""
    return About("run", "name", ref.run)


def variables_of(refs: Sequence[RunRef]) -> dict[str, Any]:
    where = {"entity": refs[0].entity, "project": refs[0].project}
    return where | {alias(i): ref.run for i, ref in enumerate(refs)}


def _of(ref: RunRef) -> dict[str, Any]:
    return {"entity": ref.entity, "project": ref.project, "run": ref.run}
