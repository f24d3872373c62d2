"""The sources of an export: the selected runs, and the tables of their rows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager

import msgspec

from aiowandb.choices import What
from aiowandb.concurrency.threads import run_sync
from aiowandb.errors import ServerError
from aiowandb.export.announced import AnnouncedKeys
from aiowandb.export.options import ExportOptions
from aiowandb.export.originals import OriginalRuns
from aiowandb.export.progress import RunFailure
from aiowandb.export.row_source import RowSource
from aiowandb.export.runs_table import ArchiveTable
from aiowandb.export.schema import LongSchema, RowSchema, SystemSchema
from aiowandb.export.stored import RunSnapshot
from aiowandb.export.tables.logs import log_snapshot, log_source
from aiowandb.export.tables.media import (
    LoggedMedia,
    histogram_source,
    is_histogram,
    media_source,
)
from aiowandb.export.tables.metrics import Metrics
from aiowandb.history.concurrent import RunBatches, scan_each, scan_runs
from aiowandb.history.decode import RowDecoder
from aiowandb.history.grouped import scan_system_of
from aiowandb.history.reading import Start
from aiowandb.history.scan import scan_sample
from aiowandb.history.selection import Selection
from aiowandb.net import Session
from aiowandb.paths import RunRef
from aiowandb.wire.record import RunRecord

# Runs in these states may log more.
_UNFINISHED = frozenset({"running", "pending", "preempting", "preempted"})


class SelectedRuns(msgspec.Struct):
    """The runs of an export in their order, a table of them, and their announced keys.

    `heartbeats` has their snapshots for tables without steps. `what` is exported of them. The
    tables lack what is `undecodable`: texts that are no JSON, of which only the originals are kept.
    """

    what: Collection[What] = ()

    histories: dict[RunRef, RunSnapshot] = {}
    heartbeats: dict[RunRef, RunSnapshot] = {}
    logs: dict[RunRef, RunSnapshot] = {}
    # Those that were not finished.
    live: set[RunRef] = set()
    # How many system metrics they have, where W&B says so.
    events: dict[RunRef, int] = {}
    table: ArchiveTable = msgspec.field(default_factory=ArchiveTable)
    originals: OriginalRuns = msgspec.field(default_factory=OriginalRuns)
    metrics: Metrics = msgspec.field(default_factory=Metrics)
    media: LoggedMedia = msgspec.field(default_factory=LoggedMedia)
    histograms: LoggedMedia = msgspec.field(default_factory=lambda: LoggedMedia(is_histogram))
    announced: AnnouncedKeys = msgspec.field(default_factory=AnnouncedKeys)
    undecodable: list[RunFailure] = []

    def add(self, page: Sequence[RunRecord]) -> None:
        """Add the runs of a page. This takes a while: call it in a thread."""
        # If the order changed while pages were read, a run may be listed twice.
        new = list({run.ref: run for run in page if run.ref not in self.histories}.values())
        self.originals.add(new)
        try:
            self.table.add(new)
        except ServerError:
            self.undecodable += [failure for run in new for failure in _without_undecodable(run)]
            self.table.add(new)
        if "metrics" in self.what:
            self.metrics.add(new)
        for run in new:
            self.histories[run.ref] = RunSnapshot.from_history(run)
            self.heartbeats[run.ref] = RunSnapshot.from_heartbeat(run)
            self.logs[run.ref] = log_snapshot(run)
            if run.state in _UNFINISHED:
                self.live.add(run.ref)
            if run.events_line_count is not None:
                self.events[run.ref] = run.events_line_count
            if {"media", "tables"}.intersection(self.what):
                self.media.add(run)
            if "histograms" in self.what:
                self.histograms.add(run)
            self.announced.add(run.history_keys)


_DECODED = {
    "config_json": "raw_config",
    "summary_json": "summary",
    "system_json": "system_metrics",
}


def _without_undecodable(run: RunRecord) -> Iterator[RunFailure]:
    """Take away the texts of the run that are no JSON."""
    for text, decoded in _DECODED.items():
        try:
            getattr(run, decoded)
        except ServerError as error:
            setattr(run, text, None)
            yield RunFailure(run.id, error)


async def select_runs(
    pages: AsyncIterator[Sequence[RunRecord]], what: Collection[What]
) -> SelectedRuns:
    """Read all pages; of each run only a snapshot and one table row are kept in memory."""
    runs = SelectedRuns(what=what)
    async for page in pages:
        await run_sync(runs.add, page)
    return runs


def row_sources(runs: SelectedRuns, options: ExportOptions) -> list[RowSource]:
    """The tables of rows that the options select."""
    found = []
    if "history" in options.what:
        found.append(_history(runs, options))
    if "system" in options.what:
        found.append(_system(runs))
    if "logs" in options.what:
        found.append(log_source(runs.logs))
    if "metrics" in options.what:
        found.append(runs.metrics.source())
    if {"media", "tables"}.intersection(options.what):
        # The index says where tables are.
        found.append(media_source(runs.media, in_artifacts="tables" in options.what))
    if "histograms" in options.what:
        found.append(histogram_source(runs.histograms))
    return found


def _system(runs: SelectedRuns) -> RowSource:
    def read(
        session: Session, starts: Mapping[RunRef, Start]
    ) -> AbstractAsyncContextManager[AsyncIterator[RunBatches]]:
        guessed = {ref: runs.heartbeats[ref].estimated_rows for ref in starts}
        expected = {ref: runs.events.get(ref, rows) for ref, rows in guessed.items()}
        return scan_system_of(session, expected, Selection())

    return RowSource("system", runs.heartbeats, SystemSchema(), read)


def history_selection(options: ExportOptions) -> Selection:
    """The rows and columns of the histories that the options select."""
    return Selection(
        keys=options.keys,
        any_key=options.any_key,
        exclude=options.exclude,
        min_step=options.min_step or 0,
        max_step=options.max_step,
    )


def _history(runs: SelectedRuns, options: ExportOptions) -> RowSource:
    selection = history_selection(options)
    announced = runs.announced.selected(selection)
    decoder = RowDecoder()

    def read(
        session: Session, starts: Mapping[RunRef, Start]
    ) -> AbstractAsyncContextManager[AsyncIterator[RunBatches]]:
        samples = options.samples
        if samples is None:
            return scan_runs(session, list(starts), selection, starts)
        return scan_each(
            session, starts, lambda ref: scan_sample(session, ref, selection, samples, decoder)
        )

    return RowSource(
        "history",
        runs.histories,
        LongSchema() if options.layout == "long" else RowSchema(),
        read,
        announced.keys,
        frozenset(announced.unknown_keys),
        is_extendable=options.samples is None,
    )
