"""The thread of an export that writes: rows of old parts, and rows from W&B, into new parts.

It is plain blocking code. What W&B sends comes through an inbox that the event loop fills.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, suppress

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from aiowandb.errors import CommError, ExportError, IncompleteHistoryError
from aiowandb.export.arrivals import Arrival, IncomingRun, incoming_runs
from aiowandb.export.dataset import Dataset
from aiowandb.export.events import FileFinished, RunFailed, RunFinished, RunStarted
from aiowandb.export.parquet import OldRows
from aiowandb.export.part import PartWriter
from aiowandb.export.plan import Kept, NewPart, Plan, RunTask
from aiowandb.export.progress import Reporter
from aiowandb.export.result import RunFailure
from aiowandb.export.schema import RowSchema
from aiowandb.export.staging import StagingFile, staged_batches
from aiowandb.export.stored import RowRange, StoredRun
from aiowandb.history.columns import STEP
from aiowandb.history.reading import Reading
from aiowandb.threads import Inbox


class RowsWriter:
    """Carries out a plan for a dataset."""

    def __init__(self, dataset: Dataset, plan: Plan, reporter: Reporter) -> None:
        self._dataset = dataset
        self._plan = plan
        self._reporter = reporter
        self._schema = dataset.schema
        self._old = OldRows(dataset.folder)
        self._incoming: Iterator[IncomingRun] = iter(())
        self._failed: list[RunFailure] = []

    def write(self, inbox: Inbox[Arrival]) -> list[RunFailure]:
        """Write the parts; give the runs whose rows could not be had.

        What arrives is about the runs that the plan fetches, in its order.
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
                made = self._dataset.commit(new, file, tuple(runs))
                self._reporter.emit(FileFinished(self._dataset.place(made), made.rows, made.size))

    def _write_runs(self, new: NewPart, part: PartWriter, inbox: Inbox[Arrival]) -> list[StoredRun]:
        """Write the rows of the part's runs; say which rows it has then."""
        runs: list[StoredRun | None] = []
        # With the last run that is read the part is complete, so that it need not be staged.
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
                with suppress(ExportError):  # what stops us is the error to tell
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
        """Which rows of the run the part has then; None if there are none to be had."""
        run, start = task.snapshot.run, part.rows
        rows = _RunRows(part, staging)
        for batch in self._rows_of(task.kept) if task.kept and task.extends else ():
            rows.write(batch, self._schema)
        copied = part.rows
        self._reporter.emit(RunStarted(self._dataset.name, run))
        try:
            reading = self._write_incoming(task, rows)
            stored = _stored(task, part.rows - start, reading)
        except CommError as error:
            rows.discard()
            part.rollback_to(copied)
            if task.extends and isinstance(error, IncompleteHistoryError):
                return self._distrusted(task)
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
        for batch in incoming:
            self._schema, fitted = self._schema.fit_or_widen(run, _new_rows(batch, task))
            rows.write(fitted, self._schema)
            self._reporter.rows += fitted.num_rows
        return incoming.reading

    def _distrusted(self, task: RunTask) -> StoredRun | None:
        """The rows that we have of a run and that are not W&B's any more, until it is read anew."""
        self._dataset.forget_staged_run(task.snapshot.run)
        return msgspec.structs.replace(task.kept.stored, last=None) if task.kept else None

    def _rows_of(self, kept: Kept) -> Iterator[pa.RecordBatch]:
        if isinstance(kept, RowRange):
            batches = self._old.batches(self._dataset.path(kept.part), kept)
        else:
            batches = staged_batches(self._dataset.folder, kept)
        return map(self._schema.recast, batches)


class _RunRows:
    """The rows of one run, on their way into a part and, until that is complete, aside."""

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
    """The rows of the batch that are not among those that are extended."""
    if not (task.extends and task.kept and task.kept.stored.last):
        return batch
    known = pc.less_equal(batch.column(STEP), task.kept.stored.last.step)
    return batch.slice(pc.sum(known).as_py() or 0)  # they are in step order


def _stored(task: RunTask, rows: int, reading: Reading) -> StoredRun:
    """What the run has now, if the last row that we had of it is still W&B's."""
    if not (task.extends and task.kept):
        return StoredRun(task.snapshot, rows, reading.rows, reading.last)
    if reading.first != task.kept.stored.last:
        raise IncompleteHistoryError(f"Run {task.snapshot.run} was rewound.")
    return StoredRun(task.snapshot, rows, task.start.rows_before + reading.rows, reading.last)
