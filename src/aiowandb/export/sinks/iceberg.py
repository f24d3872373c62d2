"""A table of an Apache Iceberg catalogue: each commit is one transaction."""
# pyright: reportMissingImports=false

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa

from aiowandb.errors import AiowandbError, ExportError, UsageError, extra_needed
from aiowandb.export.commit_pace import CommitPace
from aiowandb.export.schema import RUN_ID
from aiowandb.export.sinks.table import plain_type

# The property of the table that has the marks of its runs.
_MARKS = "aiowandb.marks"
# Rows of one data file.
_FILE_ROWS = 1_000_000
# Each commit leaves a version of the table: they become rarer the longer an export takes.
_COMMIT_SECONDS, _COMMIT_SHARE = 5.0, 0.1


class IcebergSink:
    """A table of an Iceberg catalogue, for `Runs.export`; `table` is like `namespace.history`.

    `catalog` is a catalogue of pyiceberg, or the name of one in its settings, which `properties`
    complete. The first export makes the table, later ones add what is new. Each commit is one
    transaction: rows, columns, and which runs are complete. Rows wait in a temporary file until
    then. A long export commits in between what is finished, as one that is stopped does at its
    end, if it can. Requires the extra `iceberg`.

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
        # As they will be after the next commit, like the runs whose former rows it removes.
        self._marks: dict[str, str] = {}
        self._replaced: list[str] = []
        self._has_finished = False
        self._folder: TemporaryDirectory[str] | None = None
        self._spool: _Spool | None = None
        # The run that has begun, and whether it has former rows.
        self._run: tuple[str, bool] | None = None
        self._pace = CommitPace(_COMMIT_SECONDS, _COMMIT_SHARE)

    def open(self) -> Mapping[str, str]:
        with self._plain_errors():
            if isinstance(self._catalog, str):
                self._catalog = self._load_catalog(self._catalog, **self._properties)
            if self._catalog.table_exists(self._name):
                self._table = self._catalog.load_table(self._name)
                self._marks = json.loads(self._table.properties.get(_MARKS, "{}"))
        self._folder = TemporaryDirectory(prefix="aiowandb-iceberg-")
        self._replaced = []
        self._run, self._has_finished = None, False
        self._pace = CommitPace(_COMMIT_SECONDS, _COMMIT_SHARE)
        return dict(self._marks)

    def begin(self, schema: pa.Schema, mark: str) -> None:
        self._marks[""] = mark
        if self._spool is None:
            if self._folder is None:
                raise ExportError("The table was not opened.")
            self._spool = _Spool(Path(self._folder.name))
        self._spool.use(_plain(schema))

    def start_run(self, run: str, *, extends: bool) -> None:
        self._run = run, not extends and run in self._marks
        if self._spool:
            self._spool.start_run()

    def write(self, batch: pa.RecordBatch) -> None:
        if self._spool:
            self._spool.write(batch)

    def finish_run(self, mark: str) -> None:
        if self._run is None:
            return
        run, is_replaced = self._run
        if is_replaced:
            self._replaced.append(run)
        self._marks[run] = mark
        self._run, self._has_finished = None, True
        if self._pace.is_due or (self._spool and self._spool.rows >= _FILE_ROWS):
            self.commit()

    def discard_run(self) -> None:
        if self._spool and self._run:
            self._spool.discard_run()
        self._run = None

    def replace(self, rows: pa.Table, mark: str) -> None:
        self.begin(rows.schema, mark)
        plain = rows.cast(_plain(rows.schema))
        with self._plain_errors(), self._opened(plain.schema).transaction() as change:
            with change.update_schema() as update:
                update.union_by_name(plain.schema)
            if self._table.current_snapshot() is None:
                change.append(plain)
            else:
                change.overwrite(plain)

    def commit(self) -> None:
        schema = self._spool.schema if self._spool else pa.schema([])
        self._has_finished = False
        with (
            self._plain_errors(),
            self._pace.committing(),
            self._opened(schema).transaction() as change,
        ):
            with change.update_schema() as update:
                update.union_by_name(schema)
            if self._replaced:
                change.delete(self._is_in(RUN_ID, self._replaced))
            for rows in self._spool.tables() if self._spool else ():
                change.append(rows)
            change.set_properties({_MARKS: json.dumps(self._marks)})
        self._replaced = []
        if self._spool:
            self._spool.clear()

    def close(self) -> None:
        try:
            if self._has_finished:
                self.discard_run()
                with suppress(ExportError):  # the first error is the one to raise
                    self.commit()
        finally:
            if self._spool:
                self._spool.close()
                self._spool = None
            if self._folder:
                self._folder.cleanup()
                self._folder = None
            self._table, self._has_finished = None, False

    def _opened(self, schema: pa.Schema) -> Any:
        """The table, which is made with these columns if need be."""
        if self._table is None:
            namespace = self._name.rpartition(".")[0]
            self._catalog.create_namespace_if_not_exists(namespace)
            self._table = self._catalog.create_table(self._name, schema)
        return self._table

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
        self.rows = 0
        self._folder = folder
        self._files: list[Path] = []
        self._writer: pa.ipc.RecordBatchStreamWriter | None = None
        self._first_of_run = 0
        self._discarded: list[range] = []

    def use(self, schema: pa.Schema) -> None:
        """Write rows with these columns from now on."""
        if schema != self.schema:
            self.schema = schema
            self.close()

    def start_run(self) -> None:
        self._first_of_run = self.rows

    def write(self, batch: pa.RecordBatch) -> None:
        if self._writer is None:
            self._files.append(self._folder / f"{secrets.token_hex(8)}.arrows")
            self._writer = pa.ipc.new_stream(str(self._files[-1]), self.schema)
        self._writer.write_batch(batch.cast(self.schema))
        self.rows += batch.num_rows

    def discard_run(self) -> None:
        if self.rows > self._first_of_run:
            self._discarded.append(range(self._first_of_run, self.rows))

    def clear(self) -> None:
        """Begin again without rows."""
        self.close()
        for file in self._files:
            file.unlink()
        self._files, self._discarded = [], []
        self.rows = self._first_of_run = 0

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
        if self._writer:
            self._writer.close()
            self._writer = None

    def _kept(self) -> Iterator[pa.RecordBatch]:
        self.close()
        row = 0
        for path in self._files:
            with pa.OSFile(str(path), "r") as file:
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
