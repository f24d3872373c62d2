"""The table of runs: one row a run, config and summary flattened, made page by page.

It also keeps the runs that were exported and no longer exist at W&B.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import reduce
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from aiowandb.choices import What
from aiowandb.concurrency.threads import run_sync
from aiowandb.errors import CommError, ServerError
from aiowandb.export.folders.base import STATE_DIR, Folder
from aiowandb.export.journal import Deleted, ExportIdentity, ExportState, Journal
from aiowandb.export.names import RUN_KINDS
from aiowandb.export.options import ExportOptions
from aiowandb.export.parquet import bounded_rows
from aiowandb.export.progress import Clash
from aiowandb.export.run_details import DETAIL_TYPES, details_of
from aiowandb.export.schema import as_kind
from aiowandb.export.spool import PackedBatches
from aiowandb.history.columns import Kind, kind_of, meet, to_column
from aiowandb.net import BatchSize, Session, ask_all
from aiowandb.paths import RunRef
from aiowandb.wire import lenient
from aiowandb.wire.dotted import flattened
from aiowandb.wire.history import alias
from aiowandb.wire.record import RunRecord
from aiowandb.wire.runs import StorageIds, storage_ids

RUNS_FILE = "runs.parquet"
RUN_ID, DELETED = "run_id", "deleted"
# The columns that say what the export has of a run.
EXPORTED = "exported."
_TIME = pa.timestamp("us", tz="UTC")
_FIXED_TYPES = {
    RUN_ID: pa.string(),
    "name": pa.string(),
    "state": pa.string(),
    "tags": pa.list_(pa.string()),
    "group": pa.string(),
    "job_type": pa.string(),
    "created_at": _TIME,
    "heartbeat_at": _TIME,
    "user": pa.string(),
    "sweep": pa.string(),
    "commit": pa.string(),
    "notes": pa.string(),
}

Row = dict[str, Any]


class RunsTable:
    """A row per run. Calls take a while: make them in a thread.

    Each page becomes columns at once, of the kinds of its own values. The kinds of the columns
    of all pages are known after the last one.
    """

    def __init__(self, fixed: Mapping[str, pa.DataType] = _FIXED_TYPES) -> None:
        self._fixed = fixed
        self._pages = PackedBatches()
        self._columns: dict[str, _Column] = {}

    def add(self, runs: Sequence[RunRecord]) -> None:
        """Add a row for each of the runs."""
        self._add([_row(run) for run in runs])

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows under one schema; a run that lacks a key has null there."""
        schema = self.schema
        for page in self._pages:
            yield pa.RecordBatch.from_arrays(
                [self._fitted(page, field) for field in schema], schema=schema
            )

    @property
    def schema(self) -> pa.Schema:
        fixed = [pa.field(name, kind) for name, kind in self._fixed.items()]
        keys = (column.kind.field(name) for name, column in self._columns.items())
        return pa.schema([*fixed, *keys])

    def table(self) -> pa.Table:
        """All rows."""
        return pa.Table.from_batches(self.batches(), self.schema)

    def clashes(self) -> tuple[Clash, ...]:
        """The columns that are JSON text because their values are of different kinds."""
        return tuple(
            Clash(name, column.values.total())
            for name, column in self._columns.items()
            if column.kind is Kind.JSON and len(column.values) > 1
        )

    def _add(self, rows: Sequence[Row]) -> None:
        names = dict.fromkeys((*self._fixed, *(name for row in rows for name in row)))
        fields, arrays = [], []
        for name in names:
            values = [row.get(name) for row in rows]
            if name in self._fixed:
                field = pa.field(name, self._fixed[name])
                array = _array(values, field)
            else:
                kind, array = to_column(values)
                field = kind.field(name)
                self._columns.setdefault(name, _Column()).add(kind, array, values)
            fields.append(field)
            arrays.append(array)
        if rows:
            self._pages.add(pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields)))

    def _fitted(self, page: pa.RecordBatch, field: pa.Field[Any]) -> pa.Array[Any]:
        index = page.schema.get_field_index(field.name)
        if index < 0:
            return pa.nulls(page.num_rows, field.type)  # type: ignore[no-any-return]
        array, found = page.column(index), kind_of(page.schema.field(index))
        if field.name in self._fixed:
            return array
        wanted = self._columns[field.name].kind
        if found is Kind.TEXT and wanted is Kind.FLOAT:
            array = pa.array([text and lenient.as_float(text) for text in array.to_pylist()])
        return as_kind(array, found, wanted)


class ArchiveTable(RunsTable):
    """The table of an export, which keeps the runs that were deleted at W&B.

    `wholeness` says for each kind of data, and by the ids of runs, what the export has of it.
    """

    def __init__(self) -> None:
        exported = dict.fromkeys((f"{EXPORTED}{kind}" for kind in RUN_KINDS), pa.string())
        super().__init__(_FIXED_TYPES | {DELETED: pa.bool_()} | DETAIL_TYPES | exported)
        self.wholeness: Mapping[What, Mapping[str, str]] = {}

    def add(self, runs: Sequence[RunRecord]) -> None:
        self._add([_row(run) | {DELETED: False} | details_of(run) for run in runs])

    def _fitted(self, page: pa.RecordBatch, field: pa.Field[Any]) -> pa.Array[Any]:
        column = super()._fitted(page, field)
        known = self._wholeness_of(field.name)
        if not known:
            return column
        runs: list[Any] = page.column(RUN_ID).to_pylist()
        before: list[Any] = column.to_pylist()
        values = [known.get(run, old) for run, old in zip(runs, before, strict=True)]
        return pa.array(values, pa.string())

    def _wholeness_of(self, column: str) -> Mapping[str, str]:
        kinds = self.wholeness.items() if column.startswith(EXPORTED) else ()
        return next((found for kind, found in kinds if column == f"{EXPORTED}{kind}"), {})

    def add_deleted(self, runs: Sequence[str], before: Mapping[str, Row]) -> None:
        """Add deleted runs, with the rows that they had in the table of the last export."""
        self._add([before.get(run, {RUN_ID: run}) | {DELETED: True} for run in runs])


class _Column:
    """The kinds of a column in its pages, and how many values have which kind."""

    def __init__(self) -> None:
        self.values = Counter[Kind]()
        self._kinds: set[Kind] = set()
        self._has_non_finite_text = False

    def add(self, kind: Kind, array: pa.Array[Any], values: Sequence[Any]) -> None:
        if kind is Kind.TEXT and all(v is None or lenient.as_float(v) is not None for v in values):
            # Numbers or strings: the other pages decide.
            self._has_non_finite_text = True
        else:
            self._kinds.add(kind)
        if kind is Kind.JSON:
            self.values.update(to_column([value])[0] for value in values if value is not None)
        elif count := len(array) - array.null_count:
            self.values[kind] += count

    @property
    def kind(self) -> Kind:
        kind = reduce(meet, self._kinds, Kind.NULL)
        if not self._has_non_finite_text:
            return kind
        return Kind.FLOAT if kind in (Kind.INT, Kind.FLOAT) else meet(kind, Kind.TEXT)


def _array(values: Sequence[Any], field: pa.Field[Any]) -> pa.Array[Any]:
    try:
        array: pa.Array[Any] = pa.array(values, field.type)
    except (pa.ArrowException, OverflowError) as error:
        raise ServerError(
            f"W&B sent a {field.name} of a run that no table can have: {error}.", error
        ) from error
    return array


def _row(run: RunRecord) -> Row:
    """The run's row: its own fields, then `config.*` and `summary.*`."""
    row: Row = {
        RUN_ID: run.id,
        "name": run.name,
        "state": run.state,
        "tags": run.tags,
        "group": run.group,
        "job_type": run.job_type,
        "created_at": run.created_at,
        "heartbeat_at": run.heartbeat_at,
        "user": run.username,
        "sweep": run.sweep_name,
        "commit": run.commit,
        "notes": run.notes,
    }
    row.update(flattened(run.config, "config."))
    row.update(flattened(run.summary_metrics, "summary."))
    return row


def _rows_of(batch: pa.RecordBatch) -> Iterator[Row]:
    """Rows that an export has written, with JSON text parsed."""
    json = {field.name for field in batch.schema if _is_json(field)}
    for row in batch.to_pylist():
        yield {
            name: lenient.loads(value) if name in json else value
            for name, value in row.items()
            if value is not None
        }


def _is_json(field: pa.Field[Any]) -> bool:
    return kind_of(field) is Kind.JSON and pa.types.is_string(field.type)


class StoredRunsTable:
    """The table of runs of the last export, as far as it can be read. Calls block."""

    def __init__(self, folder: Folder, options: ExportOptions) -> None:
        self._folder = folder
        # Only Parquet keeps the types of all values: with other formats an extra copy is kept.
        is_parquet = options.format == "parquet"
        self.file = RUNS_FILE if is_parquet else f"{STATE_DIR}/{RUNS_FILE}"

    def ids(self) -> list[str]:
        """The runs that are in it."""
        batches = self._batches([RUN_ID])
        runs = (str(run) for batch in batches for run in pc.unique(batch[RUN_ID]).to_pylist())
        return list(dict.fromkeys(runs))

    def rows(self, runs: Collection[str]) -> dict[str, Row]:
        """Its rows of these runs, by their ids."""
        wanted, found = pa.array(runs, pa.string()), dict[str, Row]()
        for batch in self._batches() if runs else ():
            some = batch.filter(pc.is_in(batch[RUN_ID], wanted))
            found |= {row[RUN_ID]: row for row in _rows_of(some)}
        return found

    def _batches(self, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        if self._folder.size(self.file) is None:
            return
        try:
            for batch in bounded_rows(self._folder, self.file, columns):
                if RUN_ID in batch.schema.names:
                    yield batch
        except (pa.ArrowException, OSError):
            return  # it is damaged, and will be written again


class RunsArchive:
    """The runs of earlier exports that are no longer listed, and which of them W&B has deleted."""

    def __init__(self, folder: Folder, journal: Journal, options: ExportOptions) -> None:
        self._journal = journal
        self._keeps = options.on_deleted == "keep"
        self._has_table = "runs" in options.what
        self.table = StoredRunsTable(folder, options)

    async def deleted_runs(
        self, session: Session, identity: ExportIdentity, listed: Collection[str]
    ) -> tuple[str, ...]:
        """The exported runs that were deleted at W&B, if they are to be kept.

        Runs that W&B still has but that are no longer selected are not among them.
        """
        state = self._journal.state
        known = await run_sync(self._known, state)
        missing = [run for run in known if run not in listed] if self._keeps else []
        before = set(state.deleted)
        entity, _, project = identity.project.partition("/")
        asked = [RunRef(entity, project, run) for run in missing if run not in before]
        gone = {ref.run for ref in await _find_deleted(session, asked)}
        deleted = tuple(run for run in missing if run in before or run in gone)
        if deleted != state.deleted:
            await run_sync(self._journal.append, Deleted(deleted))
        return deleted

    def _known(self, state: ExportState) -> list[str]:
        listed = self.table.ids() if self._has_table else ()
        return list(dict.fromkeys((*listed, *state.stored_runs)))


async def _find_deleted(session: Session, refs: list[RunRef]) -> list[RunRef]:
    """The runs that no longer exist at W&B."""

    def exists(found: StorageIds | None, index: int, _: RunRef) -> bool | CommError:
        return (found or {}).get(alias(index)) is not None

    answers = await ask_all(session, refs, storage_ids, exists, BatchSize(200, 200))
    for answer in answers:
        if isinstance(answer, CommError):
            # A run that may be deleted must not leave the export as one that is not selected does.
            raise answer
    return [ref for ref, answer in zip(refs, answers, strict=True) if answer is False]
