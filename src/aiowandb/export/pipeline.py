"""The steps of an export, from pages of runs to published files.

pages of runs -> a plan of parts -> the rows that are missing are read, many runs at once
              -> one schema -> parts, each committed when complete -> files in other formats

The event loop reads; one thread writes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Never

from aiowandb.concurrency.threads import Inbox, entered_in_thread, feed_thread, nothing, run_sync
from aiowandb.errors import UsageError
from aiowandb.export.claim import claim_folder
from aiowandb.export.dataset import Dataset
from aiowandb.export.downloads import update_downloads
from aiowandb.export.folders.base import STATE_DIR
from aiowandb.export.folders.hashing import HashingFolder
from aiowandb.export.folders.locate import folder_at
from aiowandb.export.formats import Sink, sink_for, write_file
from aiowandb.export.journal import ExportIdentity, Failed, Journal
from aiowandb.export.names import REPORTS, SWEEPS_FILE
from aiowandb.export.options import ExportOptions
from aiowandb.export.parquet import ParquetSink
from aiowandb.export.plan import PART_ROWS, Plan, plan_parts
from aiowandb.export.progress import (
    Clash,
    ExportResult,
    OnEvent,
    Reporter,
    RowsWanted,
    RunFailed,
    RunFailure,
    RunsFound,
)
from aiowandb.export.row_source import RowSource
from aiowandb.export.runs_table import RunsArchive
from aiowandb.export.sealing import seal_folder
from aiowandb.export.sinks.table import TableSink
from aiowandb.export.sources import SelectedRuns, row_sources, select_runs
from aiowandb.export.stored import ROUNDED, locate_runs
from aiowandb.export.stream import MakeSink, sink_at, stream_rows, stream_table
from aiowandb.export.table_stream import replace_table, update_table
from aiowandb.export.tables.logged import table_sources, tables_in
from aiowandb.export.tables.reports import write_reports
from aiowandb.export.tables.sweeps import sweeps_table, with_deleted
from aiowandb.export.wholeness import Outcome
from aiowandb.export.writer import ARRIVALS_AHEAD, RowsWriter, feed_rows
from aiowandb.net import Session
from aiowandb.suggestions import listed, no_such
from aiowandb.user_warnings import warn
from aiowandb.wire.dotted import unknown_keys
from aiowandb.wire.record import RunRecord

if TYPE_CHECKING:
    from aiowandb.export.delta import Delta

# A run that fails is tried again at the end of the export, then by the next export.
_TRIES = 2


async def export_runs(
    session: Session,
    pages: AsyncIterator[Sequence[RunRecord]],
    identity: ExportIdentity,
    target: str | Path | Sink,
    options: ExportOptions,
    *,
    filesystem: Any = None,
    overwrite: bool = False,
    on_event: OnEvent | None = None,
) -> ExportResult:
    """Bring a folder up to date with the runs, or pass one table to a sink; `-` is stdout."""
    reporter = Reporter(session, on_event)
    deleted: Sequence[str] = ()
    before = session.read_as_json.copy()
    async with reporter.reporting():
        if isinstance(target, str | Path) and target != "-":
            folder = HashingFolder(await run_sync(folder_at, target, filesystem))
            claim = claim_folder(folder, identity, options, overwrite=overwrite)
            async with entered_in_thread(claim) as begin:
                runs, unknown = await _select(pages, options, reporter)
                journal, options = await run_sync(begin)
                export = _FolderExport(session, folder, options, journal, reporter)
                tables, deleted = await export.update(runs, identity)
                await feed_thread(partial(seal_folder, folder, journal), nothing, 1)
        else:
            make_sink = sink_at(target, options)
            runs, unknown = await _select(pages, options, reporter)
            if isinstance(target, TableSink):
                tables = [await _update_table(session, runs, options, target, identity, reporter)]
            else:
                tables = [await _stream(session, runs, options, make_sink, reporter)]
    files = [file for table in tables for file in table.files]
    return ExportResult(
        runs=len(runs.histories),
        rows=sum(table.rows for table in tables),
        requests=reporter.traffic.requests,
        downloads=reporter.traffic.downloads,
        received_bytes=reporter.traffic.received_bytes,
        written_bytes=sum(table.size for table in tables),
        seconds=reporter.seconds,
        files=tuple(files),
        failed=(*runs.undecodable, *(failure for table in tables for failure in table.failed)),
        clashes=tuple(clash for table in tables for clash in table.clashes),
        deleted=tuple(deleted),
        unknown_keys=tuple(unknown),
        read_as_json=tuple(
            ref.run for ref in runs.histories if session.read_as_json[ref] > before[ref]
        ),
    )


async def _select(
    pages: AsyncIterator[Sequence[RunRecord]], options: ExportOptions, reporter: Reporter
) -> tuple[SelectedRuns, list[str]]:
    """The runs, and the keys that the options name and none of the runs has."""
    runs = await select_runs(pages, options.what)
    reporter.emit(RunsFound(len(runs.histories)))
    for failure in runs.undecodable:
        reporter.emit(RunFailed("runs", failure.run, str(failure.error)))
    known = runs.announced.names if "history" in options.what else frozenset()
    unknown = unknown_keys([*(options.keys or ()), *options.exclude], known) if known else []
    for key in unknown:
        warn(no_such("key", key, known, "in any of the runs"))
    return runs, unknown


class _Table(NamedTuple):
    """One table of the result, up to date: its files, and what went wrong."""

    files: Sequence[Path | str] = ()
    size: int = 0
    rows: int = 0
    failed: Sequence[RunFailure] = ()
    clashes: Sequence[Clash] = ()


class _FolderExport:
    """An export into a folder that it has claimed."""

    def __init__(
        self,
        session: Session,
        folder: HashingFolder,
        options: ExportOptions,
        journal: Journal,
        reporter: Reporter,
    ) -> None:
        self._session = session
        self._folder = folder
        self._options = options
        self._journal = journal
        self._reporter = reporter
        self._archive = RunsArchive(folder, journal, options)
        self._datasets: dict[str, Dataset] = {}
        self._outcome = Outcome(options)

    async def update(
        self, runs: SelectedRuns, identity: ExportIdentity
    ) -> tuple[list[_Table], Sequence[str]]:
        """Update each table; also returns the runs that are kept though deleted at W&B."""
        listed = {ref.run for ref in runs.histories}
        deleted = await self._archive.deleted_runs(self._session, identity, listed)
        self._outcome.add_failed("runs", [failure.run for failure in runs.undecodable])
        tables = []
        sources = row_sources(runs, self._options)
        tables += [await self._update_rows(source, deleted) for source in sources]
        if "tables" in self._options.what:
            sources = await run_sync(self._table_sources, runs)
            tables += [await self._update_rows(source, deleted) for source in sources]
        if "sweeps" in self._options.what:
            tables.append(await self._write_sweeps(identity))
        for kind in ("files", "artifacts"):
            if kind in self._options.what:
                tables.append(await self._update_downloads(kind, runs))
        if "reports" in self._options.what:
            size = await write_reports(self._session, identity.project, self._folder)
            tables.append(_Table([self._folder.location(REPORTS)], size))
        await run_sync(self._record_failed, deleted)
        if "runs" in self._options.what:
            # The last table, as it says what there is in the others.
            await run_sync(self._say_what_is_whole, runs)
            write = partial(self._write_runs, runs, deleted)
            tables.insert(0, await feed_thread(write, nothing, 1))
        return tables, deleted

    def _record_failed(self, deleted: Collection[str]) -> None:
        before = self._journal.state.failed
        failed = self._outcome.failed_runs(before, deleted)
        if failed != before:
            self._journal.append(Failed(failed))

    def _say_what_is_whole(self, runs: SelectedRuns) -> None:
        found = self._outcome.of_runs(runs, self._journal.state)
        runs.table.wholeness = found
        if sampled := list(found["system"].values()).count("sampled"):
            warn(
                f"W&B returned only a sample of the system metrics of {sampled:,} runs: the column"
                " exported.system of the table of runs has them."
            )

    def _write_runs(
        self, runs: SelectedRuns, deleted: Sequence[str], inbox: Inbox[Never]
    ) -> _Table:
        folder, options, table = self._folder, self._options, runs.table
        table.add_deleted(deleted, self._archive.table.rows(deleted))
        runs.originals.add_deleted(deleted, folder)
        clashes = table.clashes()
        if options.format == "delta":
            folder.check()
            self._delta("runs").write(table.table())
        if options.format != "parquet":
            batches = inbox.checked(table.batches())
            write_file(batches, table.schema, ParquetSink, folder, self._archive.table.file)
        runs.originals.write(folder)
        if options.format == "delta":
            return _Table([folder.location("runs")], clashes=clashes)
        name = f"runs.{options.format}"
        batches = inbox.checked(table.batches())
        write_file(batches, table.schema, sink_for(options), folder, name)
        return _Table([folder.location(name)], folder.size(name) or 0, clashes=clashes)

    async def _write_sweeps(self, identity: ExportIdentity) -> _Table:
        listed = await sweeps_table(self._session, identity.project)
        folder, options, name = self._folder, self._options, f"sweeps.{self._options.format}"
        # Only Parquet keeps the types: with other formats an extra copy is kept.
        copy = name if options.format == "parquet" else f"{STATE_DIR}/{SWEEPS_FILE}"

        def write(inbox: Inbox[Never]) -> _Table:
            keeps = options.on_deleted == "keep"
            table = with_deleted(listed, folder, copy) if keeps else listed
            if copy != name:
                write_file(table.to_batches(), table.schema, ParquetSink, folder, copy)
            if options.format == "delta":
                folder.check()
                self._delta("sweeps").write(table)
                return _Table([folder.location("sweeps")])
            batches = inbox.checked(table.to_batches())
            write_file(batches, table.schema, sink_for(options), folder, name)
            return _Table([folder.location(name)], folder.size(name) or 0)

        return await feed_thread(write, nothing, 1)

    async def _update_rows(self, source: RowSource, deleted: Sequence[str]) -> _Table:
        dataset = await run_sync(self._open_dataset, source)
        self._datasets[source.name] = dataset
        failed = await self._read_missing(source, dataset, deleted)
        self._outcome.add_failed(source.name, [failure.run for failure in failed])
        _warn_of_rounded(dataset)
        return await feed_thread(partial(self._render, dataset, failed), nothing, 1)

    def _table_sources(self, runs: SelectedRuns) -> list[RowSource]:
        """The tables that the runs have logged, of which the index of media was written before."""
        known = self._journal.state.datasets
        listed = tables_in(self._datasets["media"].batches())
        return table_sources(listed, runs.histories, known)

    def _open_dataset(self, source: RowSource) -> Dataset:
        is_published = self._options.publishes_parts
        home = source.name if is_published else f"{STATE_DIR}/{source.name}"
        table = self._delta(source.name) if self._options.format == "delta" else None
        dataset = Dataset(source.name, home, source.schema, self._folder, self._journal, table)
        dataset.widen(dataset.schema.widened(source.keys))
        return dataset

    def _delta(self, name: str) -> Delta:
        from aiowandb.export.delta import Delta

        url = self._folder.url(name)
        if url is None:
            raise UsageError(
                "Delta Lake opens its tables itself: name the folder by a path or a URL."
            )
        return Delta(url)

    async def _read_missing(
        self, source: RowSource, dataset: Dataset, deleted: Collection[str]
    ) -> list[RunFailure]:
        """Add the rows that the dataset lacks; returns the runs that failed in each try."""
        refs = {ref.run: ref for ref in source.runs}
        failures: dict[str, list[RunFailure]] = {}
        while plan := await run_sync(_plan, source, dataset, self._options, deleted, failures):
            starts = {refs[task.snapshot.run]: task.start for task in plan.fetched}
            self._reporter.emit(RowsWanted(source.name, len(starts), plan.expected_rows))
            writer = RowsWriter(dataset, plan, self._reporter)
            async with source.read(self._session, starts) as runs:
                feed = partial(feed_rows, self._session, runs, len(starts), self._reporter)
                for failure in await feed_thread(writer.execute_plan, feed, ARRIVALS_AHEAD):
                    failures.setdefault(failure.run, []).append(failure)
        return [found[-1] for found in failures.values() if len(found) == _TRIES]

    def _render(
        self, dataset: Dataset, failed: Sequence[RunFailure], inbox: Inbox[Never]
    ) -> _Table:
        files = dataset.render(self._options, inbox)
        return _Table(
            [self._folder.location(file) for file in files],
            sum(files.values()),
            sum(part.rows for part in dataset.parts),
            failed,
            dataset.clashes(),
        )

    async def _update_downloads(
        self, kind: Literal["files", "artifacts"], runs: SelectedRuns
    ) -> _Table:
        failed = await update_downloads(
            self._session, kind, runs.heartbeats, self._folder, self._journal, self._reporter
        )
        self._outcome.add_failed(kind, [failure.run for failure in failed])
        return _Table([self._folder.location(kind)], failed=failed)


def _plan(
    source: RowSource,
    dataset: Dataset,
    options: ExportOptions,
    deleted: Collection[str],
    failures: Mapping[str, Sequence[RunFailure]],
) -> Plan:
    located = locate_runs(dataset.parts)
    given_up = {run for run, found in failures.items() if len(found) == _TRIES}
    wanted = [run for run in source.runs.values() if run.run not in given_up]
    # Existing rows of other runs are kept.
    wanted += [located[run].stored.snapshot for run in (*given_up, *deleted) if run in located]
    return plan_parts(
        wanted,
        dataset.parts,
        schema_number=dataset.schema_number,
        next_number=dataset.next_number,
        part_rows=PART_ROWS,
        split=options.split == "run",
        extend=source.is_extendable,
        name_part=dataset.unique_name if options.format == "delta" else None,
        staged=dataset.staged_runs,
    )


async def _update_table(
    session: Session,
    runs: SelectedRuns,
    options: ExportOptions,
    sink: TableSink,
    identity: ExportIdentity,
    reporter: Reporter,
) -> _Table:
    if "runs" in options.what:
        await replace_table(runs.table, sink, identity, options)
        return _Table(clashes=runs.table.clashes())
    (source,) = row_sources(runs, options)
    rows, failed = await update_table(session, source, sink, identity, options, reporter)
    return _Table(rows=rows, failed=failed)


async def _stream(
    session: Session,
    runs: SelectedRuns,
    options: ExportOptions,
    make_sink: MakeSink,
    reporter: Reporter,
) -> _Table:
    if "runs" in options.what:
        await stream_table(runs.table, make_sink)
        return _Table(clashes=runs.table.clashes())
    (source,) = row_sources(runs, options)
    with_rows = {ref: run for ref, run in source.runs.items() if not run.is_empty}
    async with source.read_all(session, with_rows) as incoming:
        failed, clashes = await stream_rows(
            session, source, with_rows, incoming, make_sink, reporter
        )
    return _Table(rows=reporter.rows, failed=failed, clashes=clashes)


def _warn_of_rounded(dataset: Dataset) -> None:
    runs = [run.snapshot.run for part in dataset.parts for run in part.runs if run.rounded]
    if runs:
        warn(f"{dataset.name} of {listed(runs)}: {ROUNDED}.")
