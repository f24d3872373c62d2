"""The console output of runs as a table."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aiowandb import ConnectError, Format
from aiowandb.api.runs import Runs
from aiowandb.export import ExportEvent, RowsWanted
from tests.export.conftest import Project, Server, contents, steps

pytestmark = pytest.mark.anyio

_TIME = "2026-01-31T12:00:00.250000"


@pytest.fixture
def with_logs(project: Project) -> Project:
    for name in "abc":
        project.log(name, steps(0, 1))
    project.write_lines("a", [f"{_TIME} [rank0] begun", f"ERROR {_TIME} oh, a comma", "no time"])
    project.write_lines("b", [f"{_TIME} line {number}" for number in range(2_500)])
    return project


async def test_each_line_is_a_row(with_logs: Project, runs: Runs, out: Path) -> None:
    result = await runs.export(out, what=["logs"])
    table = pq.read_table(out / "logs")
    time = datetime(2026, 1, 31, 12, 0, 0, 250_000, UTC)
    assert table.slice(0, 3).to_pylist() == [
        {"run_id": "a", "line": 0, "time": time, "level": None, "label": "rank0", "text": "begun"},
        {
            "run_id": "a",
            "line": 1,
            "time": time,
            "level": "error",
            "label": None,
            "text": "oh, a comma",
        },
        {"run_id": "a", "line": 2, "time": None, "level": None, "label": None, "text": "no time"},
    ]
    assert table.column("line").slice(3).to_pylist() == list(range(2_500))
    assert (result.rows, result.failed) == (2_503, ())


async def test_many_logs_take_few_requests(project: Project, runs: Runs, out: Path) -> None:
    for number in range(100):
        project.log(f"run{number}", steps(0, 1))
        project.write_lines(f"run{number}", ["one", "two"])
    result = await runs.export(out, what=["logs"])
    assert result.rows == 200
    assert result.requests <= 1 + 4  # the list of runs, then the logs


async def test_only_new_logs_are_read_again(with_logs: Project, runs: Runs, out: Path) -> None:
    await runs.export(out, what=["logs"])
    again = await runs.export(out, what=["logs"])
    assert (again.requests, again.rows) == (1, 2_503)
    with_logs.write_lines("c", ["late"])
    third = await runs.export(out, what=["logs"])
    assert (third.requests, third.rows) == (2, 2_504)


@pytest.mark.slow
async def test_logs_are_in_any_format(
    with_logs: Project, runs: Runs, out: Path, subtests: pytest.Subtests
) -> None:
    formats: tuple[Format, ...] = ("csv", "jsonl", "arrow", "delta")
    for form in formats:
        with subtests.test(form):
            await runs.export(out / form, what=["logs"], format=form)
    assert (out / "csv/logs.csv").read_text().count("\n") == 2_504
    lines = (out / "jsonl/logs.jsonl").read_text().splitlines()
    assert json.loads(lines[2]) == {"run_id": "a", "line": 2, "text": "no time"}
    assert pa.ipc.open_file(str(out / "arrow/logs.arrow")).read_all().num_rows == 2_503
    assert sorted(path.name for path in (out / "delta").iterdir() if path.name[0] != ".") == [
        "logs"
    ]


async def test_overwriting_removes_the_table_of_logs(
    with_logs: Project, runs: Runs, out: Path
) -> None:
    await runs.export(out, what=["logs"], format="csv")
    await runs.export(out, what=["runs"], overwrite=True)
    assert list(contents(out)) == ["runs.parquet"]


@pytest.mark.slow
async def test_only_runs_that_were_under_way_are_read_again_after_a_failure(
    project: Project, runs: Runs, server: Server, out: Path
) -> None:
    for name in "ab":
        project.log(name, steps(0, 1))
    project.write_lines("a", ["short"])
    project.write_lines("b", [f"line {number}" for number in range(15_000)])
    journal = out / ".aiowandb-export" / "journal.jsonl"
    server.is_gone = lambda: journal.exists() and b'"record":"staged"' in journal.read_bytes()
    with pytest.raises(ConnectError):
        await runs.export(out, what=["logs"])
    server.is_gone = lambda: False
    wanted: list[int] = []

    def count(event: ExportEvent) -> None:
        if isinstance(event, RowsWanted):
            wanted.append(event.runs)

    result = await runs.export(out, what=["logs"], on_event=count)
    assert wanted == [1]
    assert (result.rows, result.failed) == (15_001, ())
