"""What a run wrote to stdout and stderr, read back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from aiowandb import Api, AsyncApi, NotFoundError, Run
from aiowandb.wire.console import ConsoleLogLine, ConsoleRun
from aiowandb_server import RunChanges, Store
from aiowandb_server.store.stream import Chunk, StreamUpdate

pytestmark = pytest.mark.anyio

LINES = 25


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    written = [f"2026-01-31T12:00:{n:02}.5 step {n}" for n in range(LINES)]
    written[3] = "ERROR 2026-01-31T12:00:03.25 [rank 1] it broke"
    written[4] = "no time at all"
    with Store.open(tmp_path) as store:
        project = store.projects.ensure("local", "demo")[0]
        run = store.runs.upsert(project, "r1", RunChanges())[0]
        store.runs.upsert(project, "silent", RunChanges())
        store.stream.apply(run, StreamUpdate({"console": Chunk(0, written)}))
    return tmp_path


@pytest.fixture
async def run(folder: Path) -> AsyncIterator[Run]:
    async with AsyncApi.local(folder) as api:
        yield await api.run("local/demo/r1")


async def test_every_line_comes_once_whatever_the_page_size(run: Run) -> None:
    for per_page in (1, 7, LINES, 1000):
        lines = [line async for line in run.console_logs(per_page=per_page)]
        assert [line.number for line in lines] == list(range(LINES))


async def test_a_line_is_parsed_into_its_parts(run: Run) -> None:
    lines = [line async for line in run.console_logs()]
    at = datetime(2026, 1, 31, 12, 0, 3, 250_000, tzinfo=UTC)
    assert lines[3] == ConsoleLogLine(3, at, "error", "rank 1", "it broke")
    assert lines[4] == ConsoleLogLine(4, None, "", "", "no time at all")


async def test_the_last_lines_come_in_one_answer(run: Run) -> None:
    lines = [line.content async for line in run.console_logs(last=3, per_page=1)]
    assert lines == ["step 22", "step 23", "step 24"]


async def test_a_run_may_be_silent_or_deleted(folder: Path) -> None:
    async with AsyncApi.local(folder) as api:
        silent = await api.run("local/demo/silent")
        assert [line async for line in silent.console_logs()] == []
        await silent.delete()
        with pytest.raises(NotFoundError, match="local/demo/silent"):
            [line async for line in silent.console_logs()]


@pytest.mark.parametrize(
    ("count", "has_next", "cursor"), [(5, False, "c"), (2, True, "c"), (2, False, None)]
)
def test_a_short_page_is_not_treated_as_the_last(
    count: int, has_next: bool, cursor: str | None
) -> None:
    page = {
        "edges": [{"node": {"number": number, "line": ""}} for number in range(2)],
        "pageInfo": {"endCursor": "c", "hasNextPage": has_next},
    }
    data = msgspec.convert({"logLineCount": count, "logLines": page}, ConsoleRun)
    assert data.next_cursor() == cursor


def test_the_facade_reads_the_same(folder: Path) -> None:
    with Api.local(folder) as api:
        run = api.run("local/demo/r1")
        assert [line.number for line in run.console_logs(per_page=10)] == list(range(LINES))
        assert [line.content for line in run.console_logs(last=1)] == ["step 24"]
