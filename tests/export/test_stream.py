"""Rows to a sink of one's own or to the standard output, and the messages about that."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from aiowandb import AiowandbWarning, AsyncApi, DatabaseSink, ExportError, UsageError
from aiowandb.api.runs import Runs
from aiowandb.export import (
    Clash,
    ExportEvent,
    FileFinished,
    Progress,
    RowsWanted,
    RunFailed,
    RunFinished,
    RunsFound,
    RunStarted,
    Waiting,
)
from aiowandb_server import Store
from tests.export.conftest import Project, Server, steps

pytestmark = pytest.mark.anyio


class Collecting:
    """A sink that keeps what it gets."""

    def __init__(self) -> None:
        self.batches: list[pa.RecordBatch] = []
        self.closed = 0

    def write(self, batch: pa.RecordBatch) -> None:
        assert not self.closed
        self.batches.append(batch)

    def close(self) -> None:
        self.closed += 1


async def test_a_sink_gets_the_history_run_by_run(project: Project, runs: Runs) -> None:
    for name in "ab":
        project.log(name, steps(0, 3))
    sink = Collecting()
    result = await runs.export(sink)
    table = pa.Table.from_batches(sink.batches)
    assert table["run_id"].to_pylist() == ["a"] * 3 + ["b"] * 3
    assert (sink.closed, result.rows, result.files) == (1, 6, ())


async def test_a_sink_is_said_to_get_integers_rounded(
    project: Project, runs: Runs, tmp_path: Path
) -> None:
    project.log("a", [{"_step": 0, "ns": 2**53 + 1}, {"_step": 1, "ns": 2**53 + 1}])
    said = r"history, ns: integers beyond 2\^53 were rounded"
    for sink in (Collecting(), DatabaseSink(f"sqlite:///{tmp_path}/runs.db")):
        with pytest.warns(AiowandbWarning, match=said):
            await runs.export(sink)


async def test_a_sink_can_have_the_runs_instead(project: Project, runs: Runs) -> None:
    project.log("a", steps(0, 3))
    sink = Collecting()
    await runs.export(sink, what=["runs"])
    assert sink.batches[0]["run_id"].to_pylist() == ["a"]


@pytest.mark.parametrize(
    ("target", "options", "complaint"),
    [
        (Collecting(), {"what": ["runs", "history"]}, "histograms, not runs and history"),
        ("-", {"what": ["files"]}, "histograms, not files"),
        ("-", {"split": "run"}, "one stream of rows: leave split out"),
        ("-", {"format": "delta"}, "cannot be written to a stream"),
        ("", {}, "is empty"),
        (None, {}, "target must be a folder, or a sink with the methods write and close, not None"),
    ],
)
async def test_unsupported_streams_are_refused_before_anything_is_sent(
    api: AsyncApi, runs: Runs, target: Any, options: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(UsageError, match=complaint):
        await runs.export(target, **options)
    assert api.traffic.requests == 0


async def test_a_sink_that_fails_ends_the_export_with_its_own_error(
    project: Project, runs: Runs
) -> None:
    project.log("a", steps(0, 3))
    sink = Collecting()
    sink.closed = 1
    with pytest.raises(AssertionError):
        await runs.export(sink)
    assert sink.closed == 2


async def test_a_sink_gets_an_error_for_columns_that_come_late(
    project: Project, runs: Runs, server: Server
) -> None:
    project.log("a", steps(0, 3))
    project.log("b", steps(0, 3, late=1))
    server.forgets = {"late"}
    sink = Collecting()
    await runs.export(sink)
    assert [batch.num_columns for batch in sink.batches] == [4, 5]


@pytest.mark.parametrize("format", ["csv", "jsonl", "arrow", "parquet"])
async def test_stdout_gets_one_stream(
    project: Project, runs: Runs, capsysbinary: pytest.CaptureFixture[bytes], format: Any
) -> None:
    project.log("a", steps(0, 3))
    await runs.export("-", format=format)
    written = pa.BufferReader(text := capsysbinary.readouterr().out)
    if format == "csv":
        assert pa_csv.read_csv(written)["_step"].to_pylist() == [0, 1, 2]  # type: ignore[arg-type]
    elif format == "jsonl":
        lines = text.splitlines()
        assert [json.loads(line)["_step"] for line in lines] == [0, 1, 2]
    elif format == "arrow":
        assert pa.ipc.open_stream(written).read_all()["_step"].to_pylist() == [0, 1, 2]
    else:
        assert pq.read_table(written)["_step"].to_pylist() == [0, 1, 2]


@pytest.mark.parametrize("what", ["runs", "system"])
async def test_any_table_can_be_that_stream(
    project: Project, runs: Runs, capsysbinary: pytest.CaptureFixture[bytes], what: Any
) -> None:
    project.log("a", steps(0, 3))
    project.log_system("a", [{"_timestamp": 1.0, "system.cpu": 50.0}])
    await runs.export("-", what=[what], format="jsonl")
    [row] = map(json.loads, capsysbinary.readouterr().out.splitlines())
    assert row["run_id"] == "a"
    assert ("state" in row, "_timestamp" in row) == (what == "runs", what == "system")


async def test_the_long_layout_can_be_a_stream(
    project: Project, runs: Runs, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    project.log("a", [{"_step": 0, "x": 1, "y": 0.5}])
    await runs.export("-", layout="long", format="csv")
    assert capsysbinary.readouterr().out.splitlines() == [
        b'"run_id","_step","key","value"',
        b'"a",0,"x",1',
        b'"a",0,"y",0.5',
    ]


async def test_a_stream_reports_clashes(project: Project, runs: Runs) -> None:
    project.log("a", [{"_step": 0, "x": 1}, {"_step": 1, "y": 1}])
    project.log("b", [{"_step": 0, "x": "high"}])
    assert (await runs.export(Collecting())).clashes == (Clash("x", 2),)


async def test_a_header_that_is_out_cannot_take_a_new_column(
    project: Project, runs: Runs, server: Server, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    project.log("a", steps(0, 3, late=1))
    server.forgets = {"late"}
    with pytest.raises(ExportError, match=r"not announce \(late\).*Export into a folder"):
        await runs.export("-", format="csv")


async def test_events_report_the_progress_of_an_export(
    project: Project, runs: Runs, server: Server, out: Path
) -> None:
    for name in "ab":
        project.log(name, steps(0, 3), finish=False)
    server.poisoned, server.failures = {"b"}, 2  # with the others, then alone
    events: list[ExportEvent] = []
    result = await runs.export(out, on_event=events.append)
    progress = [event for event in events if isinstance(event, Progress)]
    assert (progress[-1].rows, progress[-1].requests) == (6, result.requests)
    (failed,) = [event for event in events if isinstance(event, RunFailed)]
    assert failed.run == "b"
    (file, again) = [event for event in events if isinstance(event, FileFinished)]
    assert (file.file, file.rows, again.rows) == ("history/part-00000.parquet", 3, 6)
    reported = [
        e for e in events if not isinstance(e, Progress | RunFailed | FileFinished | Waiting)
    ]
    assert reported == [
        RunsFound(2),
        RowsWanted("history", 2, 6),
        RunStarted("history", "a"),
        RunFinished("history", "a", 3),
        RunStarted("history", "b"),
        RowsWanted("history", 1, 3),
        RunStarted("history", "b"),
        RunFinished("history", "b", 3),
    ]


async def test_progress_shows_that_wandb_is_throttling_and_until_when(
    store: Store, project: Project, server: Server, out: Path
) -> None:
    project.log("a", steps(0, 3))
    server.refusals = 1
    events: list[ExportEvent] = []
    began = time.time()
    url = "http://wandb.in-process"
    async with AsyncApi(store.local_key, base_url=url, timeout=60, transport=server) as api:
        await api.runs(project.path).export(out, on_event=events.append)
    reported = [event for event in events if isinstance(event, Progress)]
    assert [event.refused for event in (reported[0], reported[-1])] == [0, 1]
    assert any(event.throttled_until > began + 0.5 for event in reported[:-1])  # while it waits
    assert reported[-1].rows == 3
    waits = [event for event in events if isinstance(event, Waiting)]
    assert {wait.reason for wait in waits} <= {"it answered 429", "asks for a pause of 1 s"}
    assert waits[0].next_try > began
    assert json.loads(msgspec.json.encode(waits[0]))["event"] == "waiting"


def test_an_event_is_json_with_its_type() -> None:
    event = RunFinished("history", "a", 3)
    text = msgspec.json.encode(event)
    assert json.loads(text)["event"] == "run_finished"
    assert msgspec.json.decode(text, type=ExportEvent) == event
