"""Runs as a table: one row a run, config and summary flattened, made page by page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import reduce
from pathlib import Path
from typing import Any, Never

import pyarrow as pa
import pyarrow.compute as pc

from aiowandb.concurrency.threads import Inbox
from aiowandb.export.dataset import Dataset
from aiowandb.export.folders.base import Folder
from aiowandb.export.formats import OpenSink, SinkFile, sink_for
from aiowandb.export.options import ExportOptions
from aiowandb.export.progress import Clash
from aiowandb.export.schema import as_kind
from aiowandb.export.stored import Part
from aiowandb.history.columns import Kind, kind_of, meet, to_column
from aiowandb.wire import lenient
from aiowandb.wire.dotted import flattened
from aiowandb.wire.record import RunRecord


def write_file(
    batches: Iterable[pa.RecordBatch],
    schema: pa.Schema,
    open_sink: OpenSink,
    folder: Folder,
    name: str,
) -> None:
    """Write the batches into a file of the folder, which appears when it is complete."""
    with closing(SinkFile(folder.draft(name), open_sink, schema)) as file:
        for batch in batches:
            file.write(batch)
        file.finish()
        folder.put(file.path, name)


def render(dataset: Dataset, options: ExportOptions, inbox: Inbox[Never]) -> dict[str, int]:
    """Have the rows in the format that is wanted; give the files by name, and their sizes."""
    if options.format in ("parquet", "delta"):
        return {dataset.place(part): part.size for part in dataset.parts}
    files = _rendered_files(dataset, options)
    for name, parts in files.items():
        if not dataset.is_rendered(name, parts):
            batches = inbox.checked(dataset.batches(parts))
            schema = dataset.schema.arrow
            write_file(batches, schema, sink_for(options), dataset.folder, name)
            dataset.note_rendered(name, parts)
    dataset.forget_rendered(files)
    return {name: dataset.rendered_size(name) for name in files}


def _rendered_files(dataset: Dataset, options: ExportOptions) -> dict[str, list[Part]]:
    """The files that are made of parts: all in one, or one a part."""
    if options.split:
        return {
            f"{dataset.name}/{Path(part.file).stem}.{options.format}": [part]
            for part in dataset.parts
        }
    return {f"{dataset.name}.{options.format}": dataset.parts}


RUN_ID, DELETED = "run_id", "deleted"
_TIME = pa.timestamp("us", tz="UTC")
_OWN_TYPES = {
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
    """The rows of runs so far. Calls take a while: a thread makes them.

    Each page becomes columns at once, of the kinds that its own values have. Which kinds the
    columns of all pages have is known behind the last one.
    """

    def __init__(self, own: Mapping[str, pa.DataType] = _OWN_TYPES) -> None:
        self._own = own
        self._pages: list[pa.RecordBatch] = []
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
        own = [pa.field(name, kind) for name, kind in self._own.items()]
        keys = (column.kind.field(name) for name, column in self._columns.items())
        return pa.schema([*own, *keys])

    def table(self) -> pa.Table:
        """All rows."""
        return pa.Table.from_batches(self.batches(), self.schema)

    def clashes(self) -> tuple[Clash, ...]:
        """The columns that are JSON text because their values are of kinds that clash."""
        return tuple(
            Clash(name, column.values.total())
            for name, column in self._columns.items()
            if column.kind is Kind.JSON and len(column.values) > 1
        )

    def _add(self, rows: Sequence[Row]) -> None:
        names = dict.fromkeys((*self._own, *(name for row in rows for name in row)))
        fields, arrays = [], []
        for name in names:
            values = [row.get(name) for row in rows]
            if name in self._own:
                field = pa.field(name, self._own[name])
                array = pa.array(values, field.type)
            else:
                kind, array = to_column(values)
                field = kind.field(name)
                self._columns.setdefault(name, _Column()).add(kind, array, values)
            fields.append(field)
            arrays.append(array)
        if rows:
            self._pages.append(pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields)))

    def _fitted(self, page: pa.RecordBatch, field: pa.Field) -> pa.Array:
        place = page.schema.get_field_index(field.name)
        if place < 0:
            return pa.nulls(page.num_rows, field.type)
        array, found = page.column(place), kind_of(page.schema.field(place))
        if field.name in self._own:
            return array
        wanted = self._columns[field.name].kind
        if found is Kind.TEXT and wanted is Kind.FLOAT:
            array = pa.array([text and lenient.as_float(text) for text in array.to_pylist()])
        return as_kind(array, found, wanted)


class ArchiveTable(RunsTable):
    """The table of an export, which remembers the runs that W&B has no more."""

    def __init__(self) -> None:
        super().__init__(_OWN_TYPES | {DELETED: pa.bool_()})

    def add(self, runs: Sequence[RunRecord]) -> None:
        self._add([_row(run) | {DELETED: False} for run in runs])

    def add_deleted(self, runs: Sequence[str], before: pa.Table | None) -> None:
        """Add the rows that these runs had in the table of the last export."""
        known: dict[str, Row] = {}
        if before is not None and RUN_ID in before.schema.names:
            rows = before.filter(pc.is_in(before[RUN_ID], pa.array(runs, pa.string())))
            known = {row[RUN_ID]: row for row in _rows_of(rows)}
        self._add([known.get(run, {RUN_ID: run}) | {DELETED: True} for run in runs])


class _Column:
    """What is known of a column: the kinds of its pages, and how many values have which kind."""

    def __init__(self) -> None:
        self.values = Counter[Kind]()
        self._kinds: set[Kind] = set()
        self._has_non_finite_text = False

    def add(self, kind: Kind, array: pa.Array, values: Sequence[Any]) -> None:
        if kind is Kind.TEXT and all(v is None or lenient.as_float(v) is not None for v in values):
            # Numbers or texts: the other pages tell.
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


def _rows_of(table: pa.Table) -> Iterator[Row]:
    """Rows of a table that an export has written, JSON text as what it says."""
    json = {field.name for field in table.schema if _is_json(field)}
    for row in table.to_pylist():
        yield {
            name: lenient.loads(value) if name in json else value
            for name, value in row.items()
            if value is not None
        }


def _is_json(field: pa.Field) -> bool:
    return kind_of(field) is Kind.JSON and pa.types.is_string(field.type)
