"""The table of console output: a row per line."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any, ClassVar

import pyarrow as pa

from aiowandb.errors import CommError
from aiowandb.export.row_source import RowSource
from aiowandb.export.schema import NAME, RUN_ID, RowSchema
from aiowandb.export.stored import RunSnapshot
from aiowandb.files.run_files import console_pages
from aiowandb.history.concurrent import RunBatches
from aiowandb.history.grouped import scan_grouped
from aiowandb.history.pages import Page, RowsPage
from aiowandb.history.reading import Start
from aiowandb.net import BatchSize, Session, ask_all
from aiowandb.paths import RunRef
from aiowandb.wire.console import ConsoleLogLine, ConsoleRun, ConsoleRuns, first_console_pages
from aiowandb.wire.history import alias
from aiowandb.wire.record import RunRecord
from aiowandb.wire.runs import run_not_found

# W&B returns at most so many lines at once.
LINES_PER_PAGE = 1_000
_COLUMNS: Sequence[pa.Field[Any]] = (
    pa.field("line", pa.int64()),
    pa.field("time", pa.timestamp("us", tz="UTC")),
    pa.field("level", pa.string()),
    pa.field("label", pa.string()),
    pa.field("text", pa.string()),
)


class LogSchema(RowSchema):
    """The run, and what W&B knows about a line."""

    fixed: ClassVar[Sequence[pa.Field[Any]]] = (pa.field(RUN_ID, NAME), *_COLUMNS)


def log_snapshot(run: RunRecord) -> RunSnapshot:
    """The run as it was listed: with the number of its lines, and its last sign of life."""
    lines = run.log_line_count
    second = int(run.heartbeat_at.timestamp()) if run.heartbeat_at else -1
    return RunSnapshot(run.id, run.storage_id, lines, second if lines != 0 else -1)


def log_source(runs: Mapping[RunRef, RunSnapshot]) -> RowSource:
    """The console output of these runs."""

    def read(
        session: Session, starts: Mapping[RunRef, Start]
    ) -> AbstractAsyncContextManager[AsyncIterator[RunBatches]]:
        # Of a long log, the first answer has only the beginning.
        lines = {ref: min(runs[ref].lines or 0, LINES_PER_PAGE) for ref in starts}
        return scan_grouped(session, lines, _ask, lambda ref, found: _pages(session, ref, found))

    return RowSource("logs", runs, LogSchema(), read)


async def _ask(
    session: Session, refs: Sequence[RunRef], size: BatchSize
) -> list[ConsoleRun | CommError]:
    def pick(found: ConsoleRuns | None, index: int, ref: RunRef) -> ConsoleRun | CommError:
        return (found or {}).get(alias(index)) or run_not_found(ref, "RunConsoleLogs")

    return list(await ask_all(session, refs, first_console_pages, pick, size))


async def _pages(session: Session, ref: RunRef, first: ConsoleRun) -> AsyncGenerator[Page]:
    pages = console_pages(session, ref, LINES_PER_PAGE, None, first=first)
    async with aclosing(pages):
        async for lines in pages:
            yield RowsPage(_batch(lines), len(lines))


def _batch(lines: Sequence[ConsoleLogLine]) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(
        [
            pa.array(values, field.type)
            for values, field in zip(_values(lines), _COLUMNS, strict=True)
        ],
        schema=pa.schema(_COLUMNS),
    )


def _values(lines: Sequence[ConsoleLogLine]) -> Iterator[list[Any]]:
    yield [line.number for line in lines]
    yield [line.timestamp for line in lines]
    yield [line.level or None for line in lines]
    yield [line.label or None for line in lines]
    yield [line.content for line in lines]
