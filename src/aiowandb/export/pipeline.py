"""The whole way of an export, from pages of runs to committed files.

pages of runs -> select -> plan and scan, many runs at once -> batches
              -> one schema -> sink, in a thread -> committed file
"""

from __future__ import annotations

import copy
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import get_args

import pyarrow as pa
from anyio.to_thread import run_sync

from aiowandb.errors import ExportError, UsageError
from aiowandb.export.commit import committed
from aiowandb.export.result import ExportResult, Format
from aiowandb.export.schema import HistorySchema, SchemaSurprise
from aiowandb.export.select import SelectedRuns, select_runs
from aiowandb.export.sinks import opened_sink
from aiowandb.history import Selection, scan_runs
from aiowandb.net import Session
from aiowandb.paths import RunRef
from aiowandb.wire.record import RunRecord


async def export_runs(
    session: Session,
    pages: AsyncIterator[Sequence[RunRecord]],
    folder: str | Path,
    format: Format,
) -> ExportResult:
    """Write the runs and their whole histories into the folder."""
    if format not in get_args(Format):
        raise UsageError(f"The format {format!r} is not one of {', '.join(get_args(Format))}.")
    started, before = time.monotonic(), copy.copy(session.traffic)
    target = await run_sync(_usable, Path(folder))
    runs = await select_runs(pages)
    runs_file = target / f"runs.{format}"
    history_file = (
        target / "history" / "part-00000.parquet"
        if format == "parquet"
        else target / f"history.{format}"
    )
    await _write_table(runs.table, runs_file, format)
    rows = await _write_history(session, runs, history_file, format)
    files = (runs_file, history_file)
    traffic = session.traffic.since(before)
    return ExportResult(
        runs=len(runs.refs),
        rows=rows,
        requests=traffic.requests,
        downloads=traffic.downloads,
        received_bytes=traffic.received_bytes,
        written_bytes=sum(file.stat().st_size for file in files),
        seconds=time.monotonic() - started,
        files=files,
    )


async def _write_table(table: pa.Table, path: Path, format: Format) -> None:
    async with committed(path) as file, opened_sink(format, file, table.schema) as sink:
        for batch in table.to_batches():
            await run_sync(sink.write, batch)


async def _write_history(
    session: Session,
    runs: SelectedRuns,
    path: Path,
    format: Format,
) -> int:
    schema = HistorySchema(runs.keys)
    while True:
        try:
            return await _write_with_schema(session, runs, schema, path, format)
        except SchemaSurprise as surprise:
            # W&B's list of keys was behind its rows. It happens while runs are live,
            # and starting over is cheaper than checking every row before the first.
            schema = schema.widened(surprise.kinds)


async def _write_with_schema(
    session: Session,
    runs: SelectedRuns,
    schema: HistorySchema,
    path: Path,
    format: Format,
) -> int:
    rows = 0

    def fit_and_write(ref: RunRef, batch: pa.RecordBatch) -> None:
        sink.write(schema.fit(ref, batch))

    async with (
        committed(path) as file,
        opened_sink(format, file, schema.arrow) as sink,
        scan_runs(session, runs.refs, Selection()) as lanes,
    ):
        async for lane in lanes:
            async with lane:
                async for batch in lane:
                    await run_sync(fit_and_write, lane.ref, batch)
                    rows += batch.num_rows
    return rows


def _usable(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ExportError(f"Cannot write to {folder}: {error.strerror or error}.") from error
    return folder
