"""A table of an Apache Iceberg catalogue: each export is one transaction."""
# pyright: reportMissingImports=false

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa

from aiowandb.errors import AiowandbError, ExportError, UsageError, extra_needed
from aiowandb.export.schema import RUN_ID
from aiowandb.export.sinks.table import plain_type

# The property of the table that has the marks of its runs.
_MARKS = "aiowandb.marks"
# Rows of one data file.
_FILE_ROWS = 1_000_000


class IcebergSink:
    """A table of an Iceberg catalogue, for `Runs.export`; `table` is like `namespace.history`.

    `catalog` is a catalogue of pyiceberg, or the name of one in its settings, which `properties`
    complete. The first export makes the table, later ones add what is new. All of an export is
    one transaction: rows, columns, and which runs are complete. Rows wait in a temporary file
    until then. Requires the extra `iceberg`.

    >>> sink = IcebergSink("wandb.history", "lake", type="sql", uri="sqlite:///lake.db",
    ...                    warehouse="file:///lake")
    >>> await api.runs("entity/project").export(sink)
    """

    def __init__(self, table: str, catalog: Any = "default", **properties: str) -> None:
        if "." not in table:
            raise UsageError(f"table must be like 'namespace.table', not {table!r}.")
        with extra_needed("iceberg", "IcebergSink"):
            import pyiceberg.catalog
            import pyiceberg.expressions
        self._load_catalog: Any = pyiceberg.catalog.load_catalog
        self._is_in: Any = pyiceberg.expressions.In
        self._name = table
        self._catalog = catalog
        self._properties = properties
        self._table: Any = None
        self._marks: dict[str, str] = {}
        self._replaced: list[str] = []
        self._folder: TemporaryDirectory[str] | None = None
        self._spool: _Spool | None = None
        self._run = ""

    def open(self) -> Mapping[str, str]:
        with self._plain_errors():
            if isinstance(self._catalog, str):
                self._catalog = self._load_catalog(self._catalog, **self._properties)
            if self._catalog.table_exists(self._name):
                self._table = self._catalog.load_table(self._name)
                self._marks = json.loads(self._table.properties.get(_MARKS, "{}"))
        self._folder = TemporaryDirectory(prefix="aiowandb-iceberg-")
        self._replaced = []
        return dict(self._marks)

    def begin(self, schema: pa.Schema) -> None:
        plain = _plain(schema)
        if self._spool is None:
            if self._folder is None:
                raise ExportError("The table was not opened.")
            self._spool = _Spool(Path(self._folder.name))
        self._spool.use(plain)
        if self._table is None:
            with self._plain_errors():
                namespace = self._name.rpartition(".")[0]
                self._catalog.create_namespace_if_not_exists(namespace)
                self._table = self._catalog.create_table(self._name, plain)

    def start_run(self, run: str, *, extends: bool) -> None:
        self._run = run
        if self._spool:
            self._spool.start_run()
        if not extends and run in self._marks:
            self._replaced.append(run)

    def write(self, batch: pa.RecordBatch) -> None:
        if self._spool:
            self._spool.write(batch)

    def finish_run(self, mark: str) -> None:
        self._marks[self._run] = mark

    def discard_run(self) -> None:
        if self._spool:
            self._spool.discard_run()
        self._replaced = [run for run in self._replaced if run != self._run]

    def replace(self, rows: pa.Table) -> None:
        self.begin(rows.schema)
        plain = rows.cast(_plain(rows.schema))
        with self._plain_errors(), self._table.transaction() as change:
            with change.update_schema() as update:
                update.union_by_name(plain.schema)
            if self._table.current_snapshot() is None:
                change.append(plain)
            else:
                change.overwrite(plain)

    def commit(self, mark: str) -> None:
        self._marks[""] = mark
        spool = self._spool
        with self._plain_errors(), self._table.transaction() as change:
            if spool:
                with change.update_schema() as update:
                    update.union_by_name(spool.schema)
            if self._replaced:
                change.delete(self._is_in(RUN_ID, self._replaced))
            for rows in spool.tables() if spool else ():
                change.append(rows)
            change.set_properties({_MARKS: json.dumps(self._marks)})

    def close(self) -> None:
        if self._spool:
            self._spool.close()
            self._spool = None
        if self._folder:
            self._folder.cleanup()
            self._folder = None
        self._table = None

    @contextmanager
    def _plain_errors(self) -> Iterator[None]:
        try:
            yield
        except AiowandbError:
            raise
        except Exception as error:
            # pyiceberg has no common class of errors, and passes on those of its catalogues.
            raise ExportError(f"Cannot write the Iceberg table {self._name}: {error}") from error


class _Spool:
    """Rows in Arrow files, one for each list of columns; those of the last run can be discarded."""

    def __init__(self, folder: Path) -> None:
        self.schema = pa.schema([])
        self._folder = folder
        self._writers: list[pa.ipc.RecordBatchStreamWriter] = []
        self._rows = 0
        self._first_of_run = 0
        self._discarded: list[range] = []

    def use(self, schema: pa.Schema) -> None:
        """Write rows with these columns from now on."""
        if not self._writers or schema != self.schema:
            self.schema = schema
            path = self._folder / f"{len(self._writers)}.arrows"
            if self._writers:
                self._writers[-1].close()
            self._writers.append(pa.ipc.new_stream(str(path), schema))

    def start_run(self) -> None:
        self._first_of_run = self._rows

    def write(self, batch: pa.RecordBatch) -> None:
        self._writers[-1].write_batch(batch.cast(self.schema))
        self._rows += batch.num_rows

    def discard_run(self) -> None:
        if self._rows > self._first_of_run:
            self._discarded.append(range(self._first_of_run, self._rows))

    def tables(self) -> Iterator[pa.Table]:
        """All rows with the last columns, as tables of the size of a data file."""
        waiting: list[pa.Table] = []
        for batch in self._kept():
            waiting.append(self._widened(batch))
            if sum(table.num_rows for table in waiting) >= _FILE_ROWS:
                yield pa.concat_tables(waiting)
                waiting = []
        if waiting:
            yield pa.concat_tables(waiting)

    def close(self) -> None:
        if self._writers:
            self._writers[-1].close()

    def _kept(self) -> Iterator[pa.RecordBatch]:
        self.close()
        row = 0
        for number in range(len(self._writers)):
            with pa.OSFile(str(self._folder / f"{number}.arrows"), "r") as file:
                for batch in pa.ipc.open_stream(file):
                    is_discarded = any(row in some for some in self._discarded)
                    row += batch.num_rows  # a batch is of one run
                    if not is_discarded and batch.num_rows:
                        yield batch

    def _widened(self, batch: pa.RecordBatch) -> pa.Table:
        columns = [
            batch.column(field.name).cast(field.type)
            if field.name in batch.schema.names
            else pa.nulls(batch.num_rows, field.type)
            for field in self.schema
        ]
        return pa.Table.from_arrays(columns, schema=self.schema)


def _plain(schema: pa.Schema) -> pa.Schema:
    return pa.schema([(field.name, plain_type(field.type)) for field in schema])
