"""The whole way of an export, from pages of runs to committed files.

pages of runs -> select -> a plan of parts -> scan what is not there yet, many runs at once
              -> one schema -> parts, each committed when whole -> files of other formats
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from aiowandb.errors import UsageError
from aiowandb.export.belongings import fetch_belongings
from aiowandb.export.dataset import Dataset
from aiowandb.export.events import OnEvent, RunsFound
from aiowandb.export.folders.base import STATE_DIR, Folder
from aiowandb.export.formats import sink_for
from aiowandb.export.journal import Journal, Source
from aiowandb.export.options import ExportOptions
from aiowandb.export.render import render, show
from aiowandb.export.result import Clash, ExportResult, RunFailure
from aiowandb.export.select import SelectedRuns, select_runs
from aiowandb.export.sinks import Sink
from aiowandb.export.sources import RowSource, row_sources
from aiowandb.export.stream import MakeSink, sink_at, stream_rows, stream_table
from aiowandb.export.tally import Tally
from aiowandb.export.update import update_rows
from aiowandb.export.workplace import folder_at, opened
from aiowandb.net import Session
from aiowandb.threads import held, run_sync
from aiowandb.wire.record import RunRecord

if TYPE_CHECKING:
    from aiowandb.export.delta import Delta

T = TypeVar("T")


async def export_runs(
    session: Session,
    pages: AsyncIterator[Sequence[RunRecord]],
    source: Source,
    target: str | Path | Sink,
    options: ExportOptions,
    *,
    filesystem: Any = None,
    overwrite: bool = False,
    on_event: OnEvent | None = None,
) -> ExportResult:
    """Bring a folder up to date with the runs, or hand one table to a sink; `-` is stdout."""
    tally = Tally(session, on_event)
    async with tally.ticking():
        if isinstance(target, str | Path) and target != "-":
            folder = await run_sync(folder_at, target, filesystem)
            async with _in_threads(opened(folder, source, options, overwrite=overwrite)) as begin:
                runs = await _selected(pages, tally)
                journal = await run_sync(begin)
                tables = await _update(session, runs, folder, options, journal, tally)
        else:
            make_sink = sink_at(target, options)
            runs = await _selected(pages, tally)
            tables = [await _stream(session, runs, options, make_sink, tally)]
    files = [file for table in tables for file in table.files]
    return ExportResult(
        runs=len(runs.histories),
        rows=sum(table.rows for table in tables),
        requests=tally.traffic.requests,
        downloads=tally.traffic.downloads,
        received_bytes=tally.traffic.received_bytes,
        written_bytes=sum(table.size for table in tables),
        seconds=tally.seconds,
        files=tuple(files),
        failed=tuple(failure for table in tables for failure in table.failed),
        clashes=tuple(clash for table in tables for clash in table.clashes),
    )


async def _selected(pages: AsyncIterator[Sequence[RunRecord]], tally: Tally) -> SelectedRuns:
    runs = await select_runs(pages)
    tally.tell(RunsFound(len(runs.histories)))
    return runs


class _Table(NamedTuple):
    """A table that is up to date, and what is to be said of it."""

    files: Sequence[Path | str] = ()
    size: int = 0
    rows: int = 0
    failed: Sequence[RunFailure] = ()
    clashes: Sequence[Clash] = ()


async def _stream(
    session: Session,
    runs: SelectedRuns,
    options: ExportOptions,
    make_sink: MakeSink,
    tally: Tally,
) -> _Table:
    if "runs" in options.what:
        await stream_table(runs.table, make_sink)
        return _Table(clashes=runs.clashes)
    (rows,) = row_sources(session, runs, options)
    failed, clashes = await stream_rows(rows, make_sink, tally)
    return _Table(rows=tally.rows, failed=failed, clashes=clashes)


async def _update(
    session: Session,
    runs: SelectedRuns,
    folder: Folder,
    options: ExportOptions,
    journal: Journal,
    tally: Tally,
) -> list[_Table]:
    tables = [await _write_runs(runs, folder, options)] if "runs" in options.what else []
    tables += [
        await _update_rows(rows, folder, options, journal, tally)
        for rows in row_sources(session, runs, options)
    ]
    for kind in ("files", "artifacts"):
        if kind in options.what:
            failed = await fetch_belongings(session, kind, runs.alive, folder, journal, tally)
            tables.append(_Table([folder.location(kind)], failed=failed))
    return tables


async def _write_runs(runs: SelectedRuns, folder: Folder, options: ExportOptions) -> _Table:
    table = runs.table
    if options.format == "delta":
        await run_sync(_delta(folder, "runs").write, table)
        return _Table([folder.location("runs")], clashes=runs.clashes)
    name = f"runs.{options.format}"
    await render(iter(table.to_batches()), table.schema, sink_for(options), folder, name)
    size = await run_sync(folder.size, name)
    return _Table([folder.location(name)], size or 0, clashes=runs.clashes)


async def _update_rows(
    source: RowSource, folder: Folder, options: ExportOptions, journal: Journal, tally: Tally
) -> _Table:
    dataset = await run_sync(_dataset, source, folder, options, journal)
    failed = await update_rows(source, dataset, options, tally)
    files = await show(dataset, options)
    return _Table(
        [folder.location(file) for file in files],
        sum(files.values()),
        sum(part.rows for part in dataset.parts),
        failed,
        await run_sync(dataset.clashes),
    )


def _dataset(
    source: RowSource, folder: Folder, options: ExportOptions, journal: Journal
) -> Dataset:
    is_shown = options.format in ("parquet", "delta")
    home = source.name if is_shown else f"{STATE_DIR}/{source.name}"
    on_shown = _delta(folder, source.name).show if options.format == "delta" else None
    return Dataset(source.name, home, source.schema, folder, journal, on_shown)


def _delta(folder: Folder, name: str) -> Delta:
    from aiowandb.export.delta import Delta

    url = folder.url(name)
    if url is None:
        raise UsageError("Delta Lake opens its tables itself: name the folder by a path or a URL.")
    return Delta(url)


@asynccontextmanager
async def _in_threads(context: AbstractContextManager[T]) -> AsyncIterator[T]:
    """A context whose entry and exit block."""
    async with held(context.__enter__, lambda _: context.__exit__(None, None, None)) as value:
        yield value
