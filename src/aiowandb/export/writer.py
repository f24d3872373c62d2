"""The writer thread of an export: copies rows of old parts, and rows from W&B, into new parts.

This is plain blocking code. Rows from W&B come through an inbox that the event loop fills.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import TypeAlias

import anyio
import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from aiowandb.concurrency.threads import Inbox
from aiowandb.errors import CommError, ExportError, IncompleteHistoryError
from aiowandb.export.dataset import Dataset
from aiowandb.export.formats import SinkFile
from aiowandb.export.parquet import ParquetSink, PartReader, group_batches
from aiowandb.export.plan import Kept, NewPart, Plan, RunTask
from aiowandb.export.progress import (
    FileFinished,
    Reporter,
    RunFailed,
    RunFailure,
    RunFinished,
    RunStarted,
)
from aiowandb.export.schema import RowSchema
from aiowandb.export.staging import StagingFile, staged_batches
from aiowandb.export.stored import RowRange, StoredRun
from aiowandb.history.concurrent import RunBatches
from aiowandb.history.pages import memory_of
from aiowandb.history.reading import Reading
from aiowandb.net import Session, is_server_down
from aiowandb.paths import RunRef
from aiowandb.wire.rows import STEP

# What arrives of a run, in this order: its name, its rows, and how the reading ended.
Arrival: TypeAlias = RunRef | pa.RecordBatch | Reading | CommError

# The next batches arrive while one is written; each run has more waiting in its own stream.
ARRIVALS_AHEAD = 8


async def feed_rows(
    session: Session,
    runs: AsyncIterator[RunBatches],
    count: int,
    reporter: Reporter,
    inbox: Inbox[Arrival],
) -> None:
    """Put the rows of `count` runs into the inbox, one run after another.

    A run that fails alone puts its error there. If W&B is down, the export ends: all that
    follow would fail, and parts would be written without them.
    """
    async for run in runs:
        count -= 1
        async with run:
            await inbox.put(run.ref)
            try:
                async for batch in run:
                    await inbox.put(batch, memory_of(batch))
                    reporter.report()
                await inbox.put(run.reading)
            except CommError as error:
                # Tables ask for more than their reader, which would have found out.
                if await is_server_down(session, error):
                    raise
                await inbox.put(error)
        reporter.report()
    if count > 0:
        # The task that reads has failed, and its error is about to cancel this one.
        await anyio.sleep_forever()


def incoming_runs(inbox: Inbox[Arrival]) -> Iterator[IncomingRun]:
    """In the thread: the runs that arrive; each must be read to its end before the next one."""
    for ref in inbox:
        if not isinstance(ref, RunRef):
            raise ExportError(f"Rows arrived that belong to no run: {type(ref).__name__}.")
        yield IncomingRun(ref, inbox)


class IncomingRun:
    """The rows of a run, as they arrive. After the last one, `reading` says what was read."""

    def __init__(self, ref: RunRef, inbox: Inbox[Arrival]) -> None:
        self.ref = ref
        self.reading = Reading()
        self._inbox = inbox

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for arrival in self._inbox:
            match arrival:
                case pa.RecordBatch():
                    yield arrival
                case CommError():
                    raise arrival
                case Reading():
                    self.reading = arrival
                    return
                case _:
                    break
        raise ExportError(f"The rows of run {self.ref} arrived without an end.")


class PartWriter:
    """Writes the rows of one part to a Parquet file. All calls block.

    The last rows can be rolled back, and the schema may widen in between: then the file is
    rewritten at the end.
    """

    def __init__(self, path: Path, schema: RowSchema) -> None:
        self._path = path
        self.rows = 0
        self._rolled_back: list[range] = []
        self._schema = schema
        self._pieces: list[SinkFile] = []
        self._open(schema)

    def write(self, batch: pa.RecordBatch, schema: RowSchema) -> None:
        """Add rows that fit the schema, which is that of the last call or a wider one."""
        if schema is not self._schema:
            self._pieces[-1].finish()
            if not self.rows:
                self._pieces.pop().close()
            self._open(schema)
        self._pieces[-1].write(batch)
        self.rows += batch.num_rows

    def rollback_to(self, start: int) -> None:
        """Discard the rows from this one on."""
        if start < self.rows:
            self._rolled_back.append(range(start, self.rows))

    def finish(self) -> Path:
        """Complete the file and return its path."""
        self._pieces[-1].finish()
        if len(self._pieces) > 1 or self._rolled_back:
            pieces = list(self._pieces)
            self._open(self._schema)
            for batch in self._kept(pieces):
                self._pieces[-1].write(self._schema.recast(batch))
            self._pieces[-1].finish()
        return self._pieces[-1].path

    def close(self) -> None:
        """Remove all files that were not moved elsewhere."""
        for piece in self._pieces:
            piece.close()

    def _open(self, schema: RowSchema) -> None:
        self._schema = schema
        path = self._path.with_suffix(f".{len(self._pieces)}")
        self._pieces.append(SinkFile(path, ParquetSink, schema.arrow))

    def _kept(self, pieces: list[SinkFile]) -> Iterator[pa.RecordBatch]:
        row = 0
        for piece in pieces:
            with pq.ParquetFile(piece.path) as file:
                for batch in group_batches(file):
                    yield from self._without_rolled_back(batch, row)
                    row += batch.num_rows

    def _without_rolled_back(self, batch: pa.RecordBatch, row: int) -> Iterator[pa.RecordBatch]:
        start, end = row, row + batch.num_rows
        for discarded in self._rolled_back:
            if start < discarded.start < end:
                yield batch.slice(start - row, discarded.start - start)
            if discarded.start < end:
                start = max(start, discarded.stop)
        if start < end:
            yield batch.slice(start - row)


class RowsWriter:
    """Executes a plan: writes its parts and commits them to the dataset."""

    def __init__(self, dataset: Dataset, plan: Plan, reporter: Reporter) -> None:
        self._dataset = dataset
        self._plan = plan
        self._reporter = reporter
        self._schema = dataset.schema
        self._old = PartReader(dataset.folder)
        self._incoming: Iterator[IncomingRun] = iter(())
        self._failed: list[RunFailure] = []

    def execute_plan(self, inbox: Inbox[Arrival]) -> list[RunFailure]:
        """Write the parts; returns the runs that failed.

        The inbox has the runs that the plan fetches, in its order.
        """
        self._dataset.begin(self._plan)
        self._incoming = incoming_runs(inbox)
        with closing(self._old):
            for new in self._plan.new:
                self._write_part(new, inbox)
        self._dataset.end()
        return self._failed

    def _write_part(self, new: NewPart, inbox: Inbox[Arrival]) -> None:
        with closing(PartWriter(self._dataset.draft(new), self._schema)) as part:
            runs = self._write_runs(new, part, inbox)
            if runs or not new.tasks:
                file = part.finish()
                self._dataset.widen(self._schema)
                committed = self._dataset.commit(new, file, tuple(runs))
                path = self._dataset.published_path(committed)
                self._reporter.emit(FileFinished(path, committed.rows, committed.size))

    def _write_runs(self, new: NewPart, part: PartWriter, inbox: Inbox[Arrival]) -> list[StoredRun]:
        """Write the rows of the part's runs; returns the runs that it has."""
        runs: list[StoredRun | None] = []
        # The last run that is fetched completes the part, so it need not be staged.
        last = next((task for task in reversed(new.tasks) if task.fetch), None)
        with closing(self._dataset.staging_file(new)) as staging:
            try:
                for task in inbox.checked(new.tasks):
                    if task.fetch:
                        staged = None if task is last else staging
                        runs.append(self._fetch_run(task, part, staged))
                    else:
                        runs.append(self._copy_run(task, part))
            except BaseException:
                with suppress(ExportError):  # the first error is the one to raise
                    staging.publish()
                raise
        return [stored for stored in runs if stored]

    def _copy_run(self, task: RunTask, part: PartWriter) -> StoredRun:
        if task.kept is None:
            return StoredRun(task.snapshot)
        for batch in self._rows_of(task.kept):
            part.write(batch, self._schema)
        return task.kept.stored

    def _fetch_run(
        self, task: RunTask, part: PartWriter, staging: StagingFile | None
    ) -> StoredRun | None:
        """Write fetched rows; returns the run's rows in the part, or None if there are none."""
        run, start = task.snapshot.run, part.rows
        rows = _RunRows(part, staging)
        for batch in self._rows_of(task.kept) if task.kept and task.extends else ():
            rows.write(batch, self._schema)
        copied = part.rows
        self._reporter.emit(RunStarted(self._dataset.name, run))
        try:
            reading = self._write_incoming(task, rows)
            stored = _stored(task, part.rows - start, reading, bool(self._schema.rounded))
        except CommError as error:
            rows.discard()
            part.rollback_to(copied)
            if task.extends and isinstance(error, IncompleteHistoryError):
                return self._mark_stale(task)
            self._failed.append(RunFailure(run, error))
            self._reporter.emit(RunFailed(self._dataset.name, run, str(error)))
            if task.kept is None or task.extends:
                return task.kept.stored if task.kept else None
            return self._copy_run(task, part)
        if staging:
            self._dataset.widen(self._schema)  # so that staged rows always fit
            staging.finish_run(stored)
        self._reporter.emit(RunFinished(self._dataset.name, run, stored.rows))
        return stored

    def _write_incoming(self, task: RunTask, rows: _RunRows) -> Reading:
        run, incoming = task.snapshot.run, next(self._incoming, None)
        if incoming is None or incoming.ref.run != run:
            found = f"those of {incoming.ref}" if incoming else "none"
            raise ExportError(f"Expected the rows of run {run}, and got {found}.")
        self._schema.rounded.clear()
        for batch in incoming:
            self._schema, fitted = self._schema.fit_or_widen(run, _new_rows(batch, task))
            rows.write(fitted, self._schema)
            self._reporter.rows += fitted.num_rows
        return incoming.reading

    def _mark_stale(self, task: RunTask) -> StoredRun | None:
        """Keep rows that W&B has replaced, without a mark, so that the next try reads all rows."""
        self._dataset.forget_staged_run(task.snapshot.run)
        return msgspec.structs.replace(task.kept.stored, last=None) if task.kept else None

    def _rows_of(self, kept: Kept) -> Iterator[pa.RecordBatch]:
        if isinstance(kept, RowRange):
            batches = self._old.batches(self._dataset.path(kept.part), kept)
        else:
            batches = staged_batches(self._dataset.folder, kept)
        for batch in batches:
            self._schema = self._schema.holding(batch.schema)
            yield self._schema.recast(batch)


class _RunRows:
    """Writes the rows of one run into a part, and into its staging file if it has one."""

    def __init__(self, part: PartWriter, staging: StagingFile | None) -> None:
        self._part = part
        self._staging = staging

    def write(self, batch: pa.RecordBatch, schema: RowSchema) -> None:
        if batch.num_rows:
            self._part.write(batch, schema)
            if self._staging:
                self._staging.write(batch)

    def discard(self) -> None:
        if self._staging:
            self._staging.discard_run()


def _new_rows(batch: pa.RecordBatch, task: RunTask) -> pa.RecordBatch:
    """The rows of the batch that follow the kept ones."""
    if not (task.extends and task.kept and task.kept.stored.last):
        return batch
    known = pc.less_equal(batch.column(STEP), pa.scalar(task.kept.stored.last.step))
    return batch.slice(known.true_count)  # they are in step order


def _stored(task: RunTask, rows: int, reading: Reading, rounded: bool) -> StoredRun:
    """The run with all its rows, provided that W&B still has the last one of the kept rows."""
    if not (task.extends and task.kept):
        return StoredRun(task.snapshot, rows, reading.rows, reading.last, rounded)
    if reading.first != task.kept.stored.last:
        raise IncompleteHistoryError(f"Run {task.snapshot.run} was rewound.")
    read = task.start.rows_before + reading.rows
    rounded = rounded or task.kept.stored.rounded
    return StoredRun(task.snapshot, rows, read, reading.last, rounded)
