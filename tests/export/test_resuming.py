"""A repeated export after a stop at any time reads only what was not finished."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice, product
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from aiowandb import Api
from aiowandb.export import RunFinished, pipeline
from aiowandb_server import Store, create_app, serve_in_thread
from tests.export.conftest import Project, contents, steps
from tests.support import forked
from tests.support.processes import start

RUNS, ROWS = 48, 150
Options = dict[str, Any]
History = Literal["parquet", "json"]
# How an export ends before its time.
Stop = Literal["kill", "interrupt", "server"]

LAYOUTS: list[Options] = [
    {},
    {"format": "csv"},
    {"format": "jsonl", "layout": "long"},
    {"format": "arrow", "keys": ["loss"]},
    {"format": "delta"},
    {"split": "run"},
    {"format": "csv", "split": "run"},
]


class Counting:
    """The embedded W&B, which counts what runs are read, and which can be gone."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._lock = threading.Lock()
        self.is_gone = False
        self.requests = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            with self._lock:
                self.requests += 1
            if self.is_gone:
                await send({"type": "http.response.start", "status": 503, "headers": []})
                await send({"type": "http.response.body", "body": b"gone"})
                return
        await self._app(scope, receive, send)


class Exports:
    """Exports of one project from a server that counts; those to be stopped in processes."""

    def __init__(self, server: Counting, url: str, key: str) -> None:
        self.server = server
        self._url, self._key = url, key

    def finish(self, folder: Path | str, options: Options, part_rows: int) -> int:
        """Export undisturbed, in this process; give the number of requests."""
        before = self.server.requests
        with pytest.MonkeyPatch.context() as patch, Api(self._key, base_url=self._url) as api:
            patch.setattr(pipeline, "PART_ROWS", part_rows)
            api.runs(Project.path, order="+created_at").export(folder, **options)
        return self.server.requests - before

    def stop(self, folder: Path, options: Options, part_rows: int, stop: Stop, runs: int) -> int:
        """Export until so many runs are finished; give how many there were in the end."""
        return len(self.stopped(folder, options, part_rows, stop, runs))

    def stopped(
        self, folder: Path | str, options: Options, part_rows: int, stop: Stop, runs: int
    ) -> list[RunFinished]:
        """Export until so many runs are finished, of all tables; give all that were."""
        events, child_events = Pipe(duplex=False)
        where = (self._url, self._key, Project.path, folder)
        with events:
            with child_events:
                process = start(forked.export_with_events, *where, options, part_rows, child_events)
            arriving = finished_runs(events)
            finished = list(islice(arriving, runs))
            if stop == "kill":
                process.kill()
            elif stop == "interrupt":
                os.kill(process.pid or 0, signal.SIGINT)
            else:
                self.server.is_gone = True
            finished += arriving
            process.join()
            self.server.is_gone = False
        return finished


def finished_runs(events: Connection) -> Iterator[RunFinished]:
    """The runs that the export finishes until its process ends."""
    with suppress(EOFError):
        while True:
            event = events.recv()
            if isinstance(event, RunFinished):
                yield event


@pytest.fixture
def exports(request: pytest.FixtureRequest, store: Store, project: Project) -> Iterator[Exports]:
    for number in range(RUNS):
        values = {"note": "x"} if number == 20 else {}
        project.log(f"run-{number:02}", steps(0, ROWS, **values))
    server = Counting(create_app(store, history=request.param, latency=0.005))
    with serve_in_thread(server) as url:
        yield Exports(server, url, store.local_key)


def check_resumed(
    exports: Exports, tmp_path: Path, options: Options, stop: Stop, runs: int, part_rows: int
) -> None:
    """An export that was stopped reads no finished run again, and ends as if it had not been."""
    undisturbed, out = tmp_path / "undisturbed", tmp_path / "out"
    all_requests = exports.finish(undisturbed, options, part_rows)
    finished = exports.stop(out, options, part_rows, stop, runs)
    assert finished >= runs
    left = all_requests * (RUNS - finished) / RUNS
    resumed = exports.finish(out, options, part_rows)
    # To list the runs, and what is asked about them together, does not become less.
    assert resumed <= left * 1.1 + 3
    assert same(out, options) == same(undisturbed, options)


def same(folder: Path, options: Options) -> Any:
    if options.get("format") != "delta":
        return contents(folder)
    table = pa.table(DeltaTable(folder / "history").to_pyarrow_table())
    return table.sort_by([("run_id", "ascending"), ("_step", "ascending")])


ONE_PART, MANY_PARTS = 1_000_000, 1_000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("exports", "options", "part_rows"),
    [
        ("parquet", LAYOUTS[0], MANY_PARTS),
        ("json", LAYOUTS[1], ONE_PART),
    ],
    indirect=["exports"],
    ids=str,
)
def test_a_killed_export_reads_no_finished_run_again(
    exports: Exports, tmp_path: Path, options: Options, part_rows: int
) -> None:
    check_resumed(exports, tmp_path, options, "kill", 20, part_rows)


@pytest.mark.parametrize("exports", ["json"], indirect=True)
@pytest.mark.slow
def test_an_interrupted_export_reads_no_finished_run_again(
    exports: Exports, tmp_path: Path
) -> None:
    check_resumed(exports, tmp_path, {}, "interrupt", 20, MANY_PARTS)


# Another moment for each way and each layout, so that together they are many; each is read in
# both ways, once into one part and once into many.
MOMENTS = [
    pytest.param(
        history,
        options,
        stop,
        2 + 7 * number % (RUNS - 4),
        (ONE_PART, MANY_PARTS)[(number + shift) % 2],
        id=f"{history}-{stop}-{options}",
    )
    for number, (options, stop) in enumerate(product(LAYOUTS, ("kill", "interrupt", "server")))
    for shift, history in enumerate(("parquet", "json"))
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("exports", "options", "stop", "runs", "part_rows"), MOMENTS, indirect=["exports"]
)
def test_an_export_that_stops_at_any_moment_reads_no_finished_run_again(
    exports: Exports, tmp_path: Path, options: Options, stop: Stop, runs: int, part_rows: int
) -> None:
    check_resumed(exports, tmp_path, options, stop, runs, part_rows)
