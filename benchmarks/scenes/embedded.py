"""The embedded W&B: how fast it takes rows in, and how listing grows with the project."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import orjson

from aiowandb_server import RunChanges, Store, create_app, serve_in_thread
from benchmarks.figures import Effort, Figure, Findings

_ROWS_A_POST = 1000
_POSTS = 100
_FEW, _MANY = 1_000, 100_000
_PAGES_A_ROUND = 5
_PAGE = """query Runs($filters: JSONString, $order: String) {
  project(name: "p", entityName: "local") {
    runCount(filters: $filters)
    runs(first: 50, filters: $filters, order: $order) {
      edges { node { name state config summaryMetrics } cursor } pageInfo { hasNextPage } } } }"""
_NEWEST_FIRST = "-created_at"
# A tenth of the runs has this batch, and half of them such a loss.
_ONE_BATCH = {"config.batch": 3, "summary_metrics.loss": {"$lt": 0.5}}


def store_and_list(effort: Effort) -> Findings:
    """100,000 rows by file stream; the first page of 1,000 and of 100,000 runs."""
    rates = [_ingest(effort.of(_POSTS)) for _ in range(effort.rounds)]
    figures = [Figure("i", "file stream, rows a second", rates)]
    with _served(effort.of(_FEW)) as few, _served(effort.of(_MANY)) as many:
        for what, filters, order, limit in (
            ("all", {}, _NEWEST_FIRST, 2),
            ("filtered", _ONE_BATCH, _NEWEST_FIRST, 2),
            ("filtered, by a metric", _ONE_BATCH, "-summary_metrics.loss", None),
        ):
            growth = [
                _first_page(many, filters, order) / _first_page(few, filters, order)
                for _ in range(effort.rounds)
            ]
            what = f"first page of 100,000 runs / of 1,000, {what}"
            figures.append(Figure("i", what, growth, at_most=limit))
    return Findings(figures)


def _ingest(posts: int) -> float:
    with _served(runs=1) as http:
        started = time.perf_counter()
        for post in range(posts):
            lines = [_line(post * _ROWS_A_POST + i) for i in range(_ROWS_A_POST)]
            chunk = {"offset": post * _ROWS_A_POST, "content": lines}
            body = {"files": {"wandb-history.jsonl": chunk}}
            http.post(
                "/files/local/p/run0/file_stream", content=orjson.dumps(body)
            ).raise_for_status()
        return posts * _ROWS_A_POST / (time.perf_counter() - started)


def _first_page(http: httpx.Client, filters: dict[str, Any], order: str) -> float:
    variables = {"filters": orjson.dumps(filters).decode(), "order": order}
    body = {"query": _PAGE, "variables": variables}

    def once() -> float:
        started = time.perf_counter()
        answer = http.post("/graphql", content=orjson.dumps(body))
        answer.raise_for_status()
        assert "errors" not in answer.json(), answer.text
        return time.perf_counter() - started

    return statistics.median(once() for _ in range(_PAGES_A_ROUND))


@contextmanager
def _served(runs: int) -> Iterator[httpx.Client]:
    """A project of so many runs, on a port."""
    with TemporaryDirectory() as folder, Store.open(Path(folder)) as store:
        project, _ = store.projects.ensure("local", "p")
        for number in range(runs):
            config = {"batch": {"value": number % 10}, "lr": {"value": 0.1}}
            summary = {"loss": (number * 7919 % runs) / runs, "_step": 100}
            changes = RunChanges(
                config=orjson.dumps(config).decode(), summary=orjson.dumps(summary).decode()
            )
            store.runs.upsert(project, f"run{number}", changes)
        with (
            serve_in_thread(create_app(store)) as url,
            httpx.Client(base_url=url, auth=("api", store.local_key), timeout=60) as http,
        ):
            yield http


def _line(step: int) -> str:
    row = {"_step": step, "_timestamp": 1.75e9 + step, "_runtime": step * 0.1}
    row |= {f"metric_{i}": 1 / (step + i + 1) for i in range(18)}
    return orjson.dumps(row).decode()
