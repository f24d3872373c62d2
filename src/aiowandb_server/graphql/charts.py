"""Queries of our own web pages, which stay cheap however much a run has logged."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from aiowandb_server.errors import RequestError
from aiowandb_server.graphql.resolving import Resolvers
from aiowandb_server.store.charting import ChartRequest
from aiowandb_server.store.previews import column_names, find_value, shortened, unwrapped

if TYPE_CHECKING:
    from aiowandb_server.graphql.context import Context
    from aiowandb_server.store.records import ProjectRow, RunRow

resolvers = Resolvers()

_MAX_KEYS = 100
# The same as the limit of points, to get all of them.
_MAX_BUCKETS = 10_000_000
_RUNS_LOOKED_AT = 100
_MAX_NAMES = 500
_LONGEST_CELL = 300
_LONGEST_TEXT = 2000


class _ChartSpec(msgspec.Struct):
    keys: list[str]
    x: str = "_step"
    buckets: int = 500
    low: float | None = None
    high: float | None = None
    stream: Literal["history", "events"] = "history"


_SPEC = msgspec.json.Decoder(_ChartSpec)


@resolvers("Run", "chartSeries")
def chart_series(run: RunRow, context: Context, spec: str) -> list[dict[str, Any]]:
    try:
        wanted = _SPEC.decode(spec)
    except (msgspec.DecodeError, RecursionError) as error:
        raise RequestError(f"the spec of chartSeries is not valid: {error}") from error
    if len(wanted.keys) > _MAX_KEYS:
        raise RequestError(f"chartSeries takes at most {_MAX_KEYS} keys at once")
    request = ChartRequest(
        tuple(dict.fromkeys(wanted.keys)),
        wanted.x,
        max(1, min(wanted.buckets, _MAX_BUCKETS)),
        -math.inf if wanted.low is None else wanted.low,
        math.inf if wanted.high is None else wanted.high,
        wanted.stream,
    )
    lines = run.history_lines if request.stream == "history" else run.event_lines
    context.count_sample(run.id, lines)
    return context.store.charts.series(run, request)


@resolvers("Run", "configPreview")
def config_preview(run: RunRow, context: Context) -> Any:
    return shortened(unwrapped(context.read_json(run.config)), _LONGEST_TEXT)


@resolvers("Run", "summaryPreview")
def summary_preview(run: RunRow, context: Context) -> Any:
    return shortened(context.read_json(run.summary), _LONGEST_TEXT)


@resolvers("Run", "cells")
def cells(run: RunRow, context: Context, columns: list[str]) -> list[Any]:
    config = unwrapped(context.read_json(run.config))
    summary = context.read_json(run.summary)
    trees = {"config": config, "summary": summary}
    found = []
    for column in columns[:_MAX_KEYS]:
        tree, _, key = column.partition(".")
        found.append(shortened(find_value(trees.get(tree, {}), key), _LONGEST_CELL))
    return found


@resolvers("Project", "columnNames")
def names_of_columns(project: ProjectRow, context: Context, search: str | None = None) -> list[str]:
    page = context.store.runs.page(project, order="-created_at", first=_RUNS_LOOKED_AT)
    names: dict[str, None] = {}
    for run in page.items:
        config = unwrapped(context.read_json(run.config))
        summary = context.read_json(run.summary)
        for tree, values in (("config", config), ("summary", summary)):
            names.update(dict.fromkeys(column_names(tree, values, search or "", _MAX_NAMES)))
    return sorted(names)[:_MAX_NAMES]
