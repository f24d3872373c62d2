"""Passes rows directly to a sink: without a folder or journal, it cannot be resumed."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Never

import pyarrow as pa

from aiowandb.concurrency.threads import Inbox, feed_thread, nothing
from aiowandb.errors import CommError, UsageError
from aiowandb.export.formats import ArrowSink, Sink, sink_for
from aiowandb.export.names import DATASETS
from aiowandb.export.options import ExportOptions
from aiowandb.export.progress import (
    Clash,
    Reporter,
    RowsWanted,
    RunFailed,
    RunFailure,
    RunFinished,
    RunStarted,
)
from aiowandb.export.row_source import RowSource
from aiowandb.export.runs_table import RunsTable
from aiowandb.export.schema import RowSchema
from aiowandb.export.stored import RunSnapshot
from aiowandb.export.terminal import TerminalFile
from aiowandb.export.writer import ARRIVALS_AHEAD, Arrival, feed_rows, incoming_runs
from aiowandb.history.columns import Kind
from aiowandb.history.concurrent import RunBatches
from aiowandb.net import Session
from aiowandb.paths import RunRef

# Makes the sink once the columns are known.
MakeSink = Callable[[pa.Schema], Sink]

_TABLES = ("runs", *DATASETS)
_BINARY_FORMATS = frozenset({"parquet", "arrow"})


def sink_at(target: str | Path | Sink, options: ExportOptions) -> MakeSink:
    """The sink for one table: the user's own, or the standard output."""
    if len(options.what) > 1 or not set(options.what).issubset(_TABLES):
        raise UsageError(
            f"A sink and the standard output take one of {', '.join(_TABLES)}, not"
            f" {' and '.join(options.what)}: export that into a folder."
        )
    if options.split:
        raise UsageError("A sink takes one stream of rows: leave split out.")
    if isinstance(target, str | Path):
        return _to_stdout(options)
    if not isinstance(target, Sink):
        raise UsageError(f"{target!r} is neither a folder nor a sink, which can write and close.")
    return lambda _: target


def _to_stdout(options: ExportOptions) -> MakeSink:
    if options.format in _BINARY_FORMATS and sys.stdout.isatty():
        raise UsageError(f"A terminal cannot show {options.format}: send it to a file or a pipe.")
    open_sink = partial(ArrowSink, stream=True) if options.format == "arrow" else sink_for(options)
    stdout: Any = sys.stdout.buffer
    if sys.stdout.isatty():
        stdout = TerminalFile(stdout, as_json=options.format == "jsonl")
    return lambda schema: open_sink(pa.PythonFile(stdout, "w"), schema)


async def stream_table(table: RunsTable, make_sink: MakeSink) -> None:
    """Pass the table to the sink."""

    def write(inbox: Inbox[Never]) -> None:
        with closing(make_sink(table.schema)) as sink:
            for batch in inbox.checked(table.batches()):
                sink.write(batch)

    await feed_thread(write, nothing, 1)


async def stream_rows(
    session: Session,
    source: RowSource,
    runs: Mapping[RunRef, RunSnapshot],
    incoming: AsyncIterator[RunBatches],
    make_sink: MakeSink,
    reporter: Reporter,
) -> tuple[list[RunFailure], list[Clash]]:
    """Pass the rows to the sink, run by run; returns the runs that failed, and clashes."""
    # The columns cannot change once rows are written, and JSON text holds any value.
    unknown = source.unknown_keys - {name for name, _ in source.keys}
    schema = source.schema.widened([*source.keys, *((name, Kind.JSON) for name in unknown)])
    expected = sum(run.estimated_rows for run in runs.values())
    reporter.emit(RowsWanted(source.name, len(runs), expected))
    writer = _StreamWriter(source.name, schema, make_sink, reporter)
    feed = partial(feed_rows, session, incoming, len(runs), reporter)
    await feed_thread(writer.write, feed, ARRIVALS_AHEAD)
    writer.schema.warn_of_rounded(source.name)
    return writer.failed, writer.clashes


class _StreamWriter:
    """Passes rows to a sink. Rows of a run that fails later cannot be taken back."""

    def __init__(
        self, name: str, schema: RowSchema, make_sink: MakeSink, reporter: Reporter
    ) -> None:
        self.failed: list[RunFailure] = []
        self._name = name
        self.schema = schema
        self._make_sink = make_sink
        self._reporter = reporter
        self._clashing = Counter[str]()

    @property
    def clashes(self) -> list[Clash]:
        return [Clash(name, self._clashing[name]) for name in sorted(self._clashing)]

    def write(self, inbox: Inbox[Arrival]) -> None:
        with closing(self._make_sink(self.schema.arrow)) as sink:
            for run in incoming_runs(inbox):
                before = self._reporter.rows
                self._reporter.emit(RunStarted(self._name, run.ref.run))
                try:
                    for batch in run:
                        self._write_batch(sink, run.ref.run, batch)
                except CommError as error:
                    self.failed.append(RunFailure(run.ref.run, error))
                    self._reporter.emit(RunFailed(self._name, run.ref.run, str(error)))
                else:
                    rows = self._reporter.rows - before
                    self._reporter.emit(RunFinished(self._name, run.ref.run, rows))

    def _write_batch(self, sink: Sink, run: str, batch: pa.RecordBatch) -> None:
        self.schema, fitted = self.schema.fit_or_widen(run, batch)
        sink.write(fitted)
        self._reporter.rows += fitted.num_rows
        for name in self.schema.clashes:
            self._clashing[name] += fitted.num_rows - fitted.column(name).null_count
