"""After a stop in the middle of any table, only runs that were not finished are asked about."""

from __future__ import annotations

import math
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from aiowandb_server import Store, create_app, serve_in_thread
from tests.export.conftest import Project, contents, steps
from tests.export.test_resuming import LAYOUTS, Counting, Exports, Options, Stop
from tests.export.test_tables import log_table, table
from tests.support.artifacts import log_artifact

RUNS = [f"run-{number:02}" for number in range(12)]
# The tables that have each run, in the order in which they are exported.
TABLES = ("history", "system", "logs", "metrics", "media", "histograms", "tables/t")
DOWNLOADS = ("files", "artifacts")
# What is asked about runs, and the tables that need the answers.
ASKED_FOR = {
    "HistoryPlans": {"history", "media", "histograms"},
    "HistoryPages": {"history", "media", "histograms"},
    "HistorySamples": {"system"},
    "RunConsoleLogs": {"logs"},
    "RunsOutputArtifacts": {"media"},
    "RunFilesByName": {"media", "tables/t"},
    "RunFiles": {"files"},
    "RunOutputArtifacts": {"artifacts"},
}
PART_ROWS = 200


class Noting(Counting):
    """It also notes which runs were asked about, by operation."""

    def __init__(self, app: Any) -> None:
        super().__init__(self._note)
        self._real = app
        self._noting = threading.Lock()
        self.asked: dict[str, set[str]] = defaultdict(set)

    async def _note(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""

        async def noted() -> Any:
            nonlocal body
            message = await receive()
            body += message.get("body", b"")
            if body and not message.get("more_body") and scope["method"] == "POST":
                asked = orjson.loads(body)
                names = {text for text in asked["variables"].values() if text in RUNS}
                with self._noting:
                    self.asked[asked["operationName"]] |= names
            return message

        await self._real(scope, noted if scope["type"] == "http" else receive, send)


class World:
    """A project with runs of every kind, and undisturbed exports of it."""

    def __init__(self, server: Noting, exports: Exports, folder: Path) -> None:
        self.server = server
        self.exports = exports
        self._folder = folder
        self._undisturbed: dict[str, Mapping[str, Any]] = {}

    def undisturbed(self, options: Options) -> Mapping[str, Any]:
        name = str(options)
        if name not in self._undisturbed:
            folder = self._folder / str(len(self._undisturbed))
            self.exports.finish(folder, options, PART_ROWS)
            self._undisturbed[name] = found(folder)
        return self._undisturbed[name]


def fill(store: Store) -> None:
    project = Project(store)
    project.make_sweep("method: grid\nparameters: {lr: {values: [1]}}")
    histogram = {"_type": "histogram", "values": [1], "bins": [0, 1]}
    for number, name in enumerate(RUNS):
        project.log(name, steps(0, 40, hist=histogram, note=number))
        project.define_metrics(name, [{"1": "loss", "7": [1]}])
        log_table(project, name, 40, "t", table(["x"], [number]))
        project.log_system(name, [{"_timestamp": 1.0 + i, "system.cpu": i} for i in range(30)])
        project.write_lines(name, [f"line {i} of {name}" for i in range(30)])
        project.store.files.add(project.run(name), "output.log", name.encode())
        log_artifact(store, project.run(name), f"model-{name}", {"w.bin": name.encode()})
    project.add_report("About it", '{"blocks": [1]}')


def found(folder: Path) -> Mapping[str, Any]:
    """The files in the folder; of Delta tables the rows, as their files are called by chance."""
    logs = sorted(path.parent for path in folder.rglob("_delta_log"))
    tables = {str(log.relative_to(folder)): rows(log) for log in logs}
    files = contents(folder)
    return tables | {
        name: content
        for name, content in files.items()
        if not any(name.startswith(f"{each}/") for each in tables)
    }


def rows(log: Path) -> list[Any]:
    found: pa.Table = pa.table(DeltaTable(log).to_pyarrow_table())
    return sorted(map(repr, found.to_pylist()))


@pytest.fixture(scope="module", params=["parquet", "json"])
def world(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    new_folder: Callable[[Path], Path],
) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("tables")
    seconds = count(1_760_000_000)
    clock = lambda: float(next(seconds))  # noqa: E731
    with Store.open(new_folder(folder / "wandb"), clock=clock, crash_after=math.inf) as store:
        fill(store)
        server = Noting(create_app(store, history=request.param, latency=0.002))
        with serve_in_thread(server) as url:
            yield World(server, Exports(server, url, store.local_key), folder / "out")


def check(world: World, out: Path, options: Options, stop: Stop, moment: int) -> None:
    options = {"what": "all", **options}
    undisturbed = world.undisturbed(options)
    finished: dict[str, set[str]] = defaultdict(set)
    events = world.exports.stopped(out, options, PART_ROWS, stop, moment)
    for event in events:
        finished[event.table].add(event.run)
    assert len(events) >= moment
    world.server.asked.clear()
    world.exports.finish(out, options, PART_ROWS)
    for operation, asked in world.server.asked.items():
        needed_by = ASKED_FOR.get(operation, set())
        done = set.intersection(*(finished[each] for each in needed_by)) if needed_by else set()
        # The last run of a part is finished before the part is, and is then under way.
        assert len(asked & done) <= 1, (operation, asked & done)
    after = found(out)
    assert after.keys() == undisturbed.keys()
    assert [name for name in after if after[name] != undisturbed[name]] == []


@pytest.mark.slow
@pytest.mark.parametrize("world", ["parquet"], indirect=True)
def test_a_kill_in_the_middle_of_a_table_loses_no_finished_run(
    world: World, tmp_path: Path
) -> None:
    moment = len(RUNS) * TABLES.index("logs") + 7
    check(world, tmp_path / "out", {}, "kill", moment)


# Exports are killed in the middle of each table, and stopped in other ways in every third; each
# layout is stopped, and both ways to read histories.
STOPS: list[tuple[Stop, int, int]] = [("kill", 0, 1), ("interrupt", 0, 3), ("server", 1, 3)]
MOMENTS = [
    pytest.param(
        ("parquet", "json")[(number + shift) % 2],
        LAYOUTS[(2 * number + shift) % len(LAYOUTS)],
        stop,
        number,
        id=f"{name}-{stop}",
    )
    for shift, (stop, first, each) in enumerate(STOPS)
    for number, name in list(enumerate((*TABLES, *DOWNLOADS)))[first::each]
]


@pytest.mark.slow
@pytest.mark.parametrize(("world", "options", "stop", "table"), MOMENTS, indirect=["world"])
def test_a_stop_in_the_middle_of_any_table_loses_no_finished_run(
    world: World, tmp_path: Path, options: Options, stop: Stop, table: int
) -> None:
    check(world, tmp_path / "out", options, stop, len(RUNS) * table + 3 + table % 8)


@pytest.mark.slow
@pytest.mark.parametrize("world", ["parquet"], indirect=True)
def test_runs_that_failed_are_in_the_end_where_they_belong(world: World, tmp_path: Path) -> None:
    # With the server gone, the runs that follow in a part fail one by one, and most of it is there.
    moment = len(RUNS) * TABLES.index("media") + 8
    check(world, tmp_path / "out", {"format": "arrow"}, "server", moment)


@pytest.mark.slow
@pytest.mark.parametrize("world", ["parquet"], indirect=True)
def test_every_run_is_in_every_table(world: World, tmp_path: Path) -> None:
    """Or a stop would not be where the other tests want it."""
    options: Options = {"what": "all"}
    events = world.exports.stopped(tmp_path / "out", options, PART_ROWS, "kill", 10**6)
    wanted = [(name, run) for name in (*TABLES, *DOWNLOADS) for run in RUNS]
    assert sorted((event.table, event.run) for event in events) == sorted(wanted)
