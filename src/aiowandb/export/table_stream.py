"""Brings a table elsewhere up to date: only runs that are new or have changed are read.

The mark of a run is what a part of a folder has of it: as of when its rows were read, how many, and
the last one. A run that has grown is read from that row on; if W&B has another one there by now,
the run was rewound, and is read again.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Never

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from aiowandb.concurrency.threads import Inbox, feed_thread, in_thread_context, nothing, run_sync
from aiowandb.errors import CommError, ExportError, IncompleteHistoryError
from aiowandb.export.journal import ExportIdentity
from aiowandb.export.options import ExportOptions, differences
from aiowandb.export.progress import (
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
from aiowandb.export.sinks.table import TableSink
from aiowandb.export.stored import RunSnapshot, StoredRun
from aiowandb.export.writer import (
    ARRIVALS_AHEAD,
    Arrival,
    IncomingRun,
    feed_rows,
    incoming_runs,
)
from aiowandb.history.columns import Kind
from aiowandb.history.reading import Start
from aiowandb.net import Session
from aiowandb.paths import RunRef
from aiowandb.wire.rows import STEP

# A run that was rewound is read again.
_TRIES = 2


class _TableMark(msgspec.Struct):
    """The mark of a table: what it has rows of, and its columns.

    Tables of older versions have no options.
    """

    project: str
    kinds: dict[str, Kind] = {}
    clashes: tuple[str, ...] = ()
    options: ExportOptions | None = None


async def replace_table(
    table: RunsTable, sink: TableSink, identity: ExportIdentity, options: ExportOptions
) -> None:
    """Replace the table by that of the runs."""

    def write(_: Inbox[Never]) -> None:
        known = _open(sink, identity)[1]
        _check_same(known, options.effective())
        mark = _TableMark(_project(identity), options=options.effective())
        sink.replace(table.table(), _text(mark))
        sink.commit()

    async with in_thread_context(lambda: sink, lambda opened: opened.close()):
        await feed_thread(write, nothing, 1)


async def update_table(
    session: Session,
    source: RowSource,
    sink: TableSink,
    identity: ExportIdentity,
    options: ExportOptions,
    reporter: Reporter,
) -> tuple[int, list[RunFailure]]:
    """Add what the table lacks; returns how many rows were added, and the runs that failed."""
    async with in_thread_context(lambda: sink, lambda opened: opened.close()):
        marks, table = await run_sync(_open, sink, identity)
        _check_same(table, options.effective())
        writer = _TableWriter(source, sink, table, options.effective(), reporter)
        stored = {run: msgspec.json.decode(text, type=StoredRun) for run, text in marks.items()}
        wanted = _wanted(source, stored)
        for number in range(_TRIES):
            expected = sum(run.estimated_rows for run, _ in wanted.values())
            reporter.emit(RowsWanted(source.name, len(wanted), expected))
            starts = {
                ref: (kept.end if kept else None) or Start() for ref, (_, kept) in wanted.items()
            }
            if starts or number == 0:
                async with source.read(session, starts) as incoming:
                    feed = partial(feed_rows, session, incoming, len(starts), reporter)
                    write = partial(writer.write, wanted)
                    await feed_thread(write, feed, ARRIVALS_AHEAD)
            wanted = {ref: (wanted[ref][0], None) for ref in writer.rewound if ref in wanted}
            writer.rewound = []
            if not wanted:
                break
        await run_sync(sink.commit)
        writer.schema.warn_of_rounded(source.name)
    return writer.rows, writer.failed


def _wanted(
    source: RowSource, stored: Mapping[str, StoredRun]
) -> dict[RunRef, tuple[RunSnapshot, StoredRun | None]]:
    """The runs to read, each with what the table has of it if that is to be extended."""
    found: dict[RunRef, tuple[RunSnapshot, StoredRun | None]] = {}
    for ref, run in source.runs.items():
        known = stored.get(ref.run)
        if (known is None and run.is_empty) or (known and run.equals(known.snapshot)):
            continue
        extends = known and source.is_extendable and known.end and run.may_extend(known.snapshot)
        found[ref] = (run, known if extends else None)
    return found


class _TableWriter:
    """Writes the rows that arrive, run by run."""

    def __init__(
        self,
        source: RowSource,
        sink: TableSink,
        table: _TableMark,
        options: ExportOptions,
        reporter: Reporter,
    ) -> None:
        self.rows = 0
        self.failed: list[RunFailure] = []
        self.rewound: list[RunRef] = []
        self._name = source.name
        self._sink = sink
        self._project = table.project
        self._options = options
        self._reporter = reporter
        before = type(source.schema)(table.kinds, table.clashes)
        self.schema = before.widened(source.keys)
        self._has_begun = False

    def write(
        self,
        wanted: Mapping[RunRef, tuple[RunSnapshot, StoredRun | None]],
        inbox: Inbox[Arrival],
    ) -> None:
        """Write all runs."""
        if not self._has_begun:
            self._use(self.schema)
        for run in incoming_runs(inbox):
            snapshot, kept = wanted[run.ref]
            self._reporter.emit(RunStarted(self._name, run.ref.run))
            self._sink.start_run(run.ref.run, extends=kept is not None)
            try:
                stored = self._write_run(run, snapshot, kept)
            except IncompleteHistoryError as error:
                self._sink.discard_run()
                if kept:
                    self.rewound.append(run.ref)
                else:
                    self._fail(run.ref, error)
            except CommError as error:
                self._sink.discard_run()
                self._fail(run.ref, error)
            else:
                self._sink.finish_run(_text(stored))
                self.rows += stored.rows - (kept.rows if kept else 0)
                self._reporter.emit(RunFinished(self._name, run.ref.run, stored.rows))

    def _write_run(
        self, run: IncomingRun, snapshot: RunSnapshot, kept: StoredRun | None
    ) -> StoredRun:
        rows = kept.rows if kept else 0
        for batch in run:
            new = _following(batch, kept)
            schema, fitted = self.schema.fit_or_widen(run.ref.run, new)
            if schema is not self.schema:
                self._use(schema)
            self._sink.write(fitted)
            rows += fitted.num_rows
            self._reporter.rows += fitted.num_rows
        reading = run.reading
        if kept is None:
            return StoredRun(snapshot, rows, reading.rows, reading.last)
        if reading.first != kept.last:
            raise IncompleteHistoryError(f"Run {run.ref.run} was rewound.")
        before = kept.end.rows_before if kept.end else 0
        return StoredRun(snapshot, rows, before + reading.rows, reading.last)

    def _use(self, schema: RowSchema) -> None:
        clashes = tuple(sorted(schema.clashes))
        mark = _TableMark(self._project, schema.kinds, clashes, self._options)
        self._sink.begin(schema.arrow, _text(mark))
        self.schema, self._has_begun = schema, True

    def _fail(self, ref: RunRef, error: CommError) -> None:
        self.failed.append(RunFailure(ref.run, error))
        self._reporter.emit(RunFailed(self._name, ref.run, str(error)))


def _following(batch: pa.RecordBatch, kept: StoredRun | None) -> pa.RecordBatch:
    """The rows that follow those that the table has."""
    if kept is None or kept.last is None:
        return batch
    known = pc.less_equal(batch.column(STEP), pa.scalar(kept.last.step))
    return batch.slice(known.true_count)  # they are in step order


def _open(sink: TableSink, identity: ExportIdentity) -> tuple[dict[str, str], _TableMark]:
    marks = dict(sink.open())
    text = marks.pop("", None)
    table = msgspec.json.decode(text, type=_TableMark) if text else _TableMark(_project(identity))
    if table.project != _project(identity):
        raise ExportError(
            f"The table has the rows of {table.project}: use another table for those of"
            f" {_project(identity)}."
        )
    return marks, table


def _check_same(table: _TableMark, options: ExportOptions) -> None:
    """Raise if the table has something else, or without rows that are to be exported now: only
    what is new is read."""
    if table.options and (differing := differences(table.options, options)):
        raise ExportError(
            f"The table has another export ({'; '.join(differing)}): use another table for this"
            " one."
        )


def _project(identity: ExportIdentity) -> str:
    return f"{identity.host}/{identity.project}"


def _text(value: msgspec.Struct) -> str:
    return msgspec.json.encode(value).decode()
