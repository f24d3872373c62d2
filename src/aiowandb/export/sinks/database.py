"""A table of a database, PostgreSQL or SQLite, written by ADBC."""
# pyright: reportMissingImports=false

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa

from aiowandb.errors import ExportError, UsageError, extra_needed
from aiowandb.export.commit_pace import CommitPace
from aiowandb.export.schema import RUN_ID
from aiowandb.export.sinks.table import lists_as_text, plain_type, without_nul
from aiowandb.redaction import hide_secrets, redacted
from aiowandb.wire.rows import STEP

_MARKS = "aiowandb_marks"
# Stands for the table itself among its runs. Old drivers make NULL of empty parameters, and no id
# of a run has a slash.
_ALL = "/"
# PostgreSQL cuts longer names off.
_MAX_NAME = 63
_POSTGRES_TYPES = {
    "bool": "BOOLEAN",
    "int64": "BIGINT",
    "double": "DOUBLE PRECISION",
    "timestamp[us, tz=UTC]": "TIMESTAMPTZ",
}
_POSTGRES_COLUMNS = (
    "SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute"
    " WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped"
)
_SQLITE_TYPES = {"bool": "BOOLEAN", "int64": "INTEGER", "double": "REAL"}


class DatabaseSink:
    """A table of PostgreSQL or SQLite, for `Runs.export`; `url` is like
    `postgresql://user@host/database` or `sqlite:///folder/file.db`.

    The first export makes the table, later ones add what is new: rows are merged on `run_id` and
    `_step`, and columns are added. A run whose rows have changed is replaced in one transaction.
    Lists are JSON text. The table `aiowandb_marks` says which runs are complete. Requires the
    extra `database`.

    >>> await api.runs("entity/project").export(DatabaseSink("sqlite:///runs.db"))
    """

    def __init__(self, url: str, table: str = "history") -> None:
        scheme = urlsplit(url).scheme
        if scheme not in ("postgresql", "postgres", "sqlite"):
            raise UsageError(
                f"{redacted(url)} is no URL of a database: it must begin with postgresql:// or"
                " sqlite:///."
            )
        if url == "sqlite:///":
            raise UsageError("sqlite:/// names no file: write it like sqlite:///folder/file.db.")
        if not table or table == _MARKS:
            raise UsageError(f"table must be the name of a table, not {table!r}.")
        self._url = url
        self._table = table
        self._is_sqlite = scheme == "sqlite"
        self._connect, self._error = _driver(is_sqlite=self._is_sqlite)
        self._connection: Any = None
        self._schema = pa.schema([])
        self._mark = ""
        # The run that has begun, and whether others are finished and not committed.
        self._run: str | None = None
        self._has_finished = False
        self._pace = CommitPace()

    def open(self) -> Mapping[str, str]:
        with self._plain_errors():
            self._connection = self._connect(self._target)
            self._execute(
                f"CREATE TABLE IF NOT EXISTS {_MARKS} (name TEXT NOT NULL, run_id TEXT NOT NULL,"
                " mark TEXT NOT NULL, PRIMARY KEY (name, run_id))"
            )
            self._connection.commit()
            if not self._columns():
                self._execute(f"DELETE FROM {_MARKS} WHERE name = {self._value(1)}", self._table)  # noqa: S608
            select = f"SELECT run_id, mark FROM {_MARKS} WHERE name = {self._value(1)}"  # noqa: S608
            marks = dict(self._execute(select, self._table))
        return {"" if run == _ALL else run: mark for run, mark in marks.items()}

    def begin(self, schema: pa.Schema, mark: str) -> None:
        self._mark = mark
        self._schema = pa.schema([(field.name, _type(field.type)) for field in schema])
        self._check_names(self._schema)
        with self._plain_errors():
            there = self._columns()
            if not there:
                self._create(self._schema)
            for field in self._schema if there else ():
                self._widen(field, there)
            self._set_mark(_ALL, mark)

    def start_run(self, run: str, *, extends: bool) -> None:
        self._run = run
        with self._plain_errors():
            # Until the run is complete, nothing of it stays.
            self._execute("SAVEPOINT run")
            if not extends:
                self._execute(f"DELETE FROM {self._name} WHERE run_id = {self._value(1)}", run)  # noqa: S608

    def write(self, batch: pa.RecordBatch) -> None:
        with self._plain_errors():
            self._ingest(batch)

    def finish_run(self, mark: str) -> None:
        with self._plain_errors():
            if self._run is not None:
                self._set_mark(self._run, mark)
            self._execute("RELEASE SAVEPOINT run")
            self._run, self._has_finished = None, True
            if self._pace.is_due:
                self._commit()

    def discard_run(self) -> None:
        with self._plain_errors():
            self._take_back_run()
        # Columns that came with the run are gone, too.
        self.begin(self._schema, self._mark)

    def replace(self, rows: pa.Table, mark: str) -> None:
        with self._plain_errors():
            self._execute(f"DROP TABLE IF EXISTS {self._name}")
        self.begin(rows.schema, mark)
        with self._plain_errors():
            for batch in rows.to_batches():
                self._ingest(batch)

    def commit(self) -> None:
        with self._plain_errors():
            self._commit()

    def close(self) -> None:
        connection = self._connection
        if connection is None:
            return
        with suppress(self._error):
            if self._has_finished:
                self._take_back_run()
                self._commit()
        with suppress(self._error):
            connection.rollback()
        self._connection = None
        connection.close()

    def _commit(self) -> None:
        self._has_finished = False
        with self._pace.committing():
            self._connection.commit()

    def _take_back_run(self) -> None:
        if self._run is not None:
            self._execute("ROLLBACK TO SAVEPOINT run")
            self._execute("RELEASE SAVEPOINT run")
            self._run = None

    @property
    def _name(self) -> str:
        return _quoted(self._table)

    @property
    def _target(self) -> str:
        if not self._is_sqlite:
            return self._url
        return unquote(self._url.removeprefix("sqlite:///"))

    def _value(self, number: int) -> str:
        """The place of a parameter in a statement."""
        return "?" if self._is_sqlite else f"${number}"

    def _columns(self) -> dict[str, str]:
        """The columns that the table has, and their types as the database names them."""
        if self._is_sqlite:
            found = self._execute("SELECT name, type FROM pragma_table_info(?)", self._table)
        else:
            found = self._execute(_POSTGRES_COLUMNS, self._name)
        return {str(name): str(kind) for name, kind in found}

    def _create(self, schema: pa.Schema) -> None:
        columns = ", ".join(f"{_quoted(f.name)} {self._sql_type(f.type)}" for f in schema)
        self._execute(f"CREATE TABLE {self._name} ({columns})")
        keys = [name for name in (RUN_ID, STEP) if name in schema.names]
        if keys:
            index = _quoted(f"{self._table}_by_run"[:_MAX_NAME])
            listed = ", ".join(map(_quoted, keys))
            self._execute(f"CREATE INDEX IF NOT EXISTS {index} ON {self._name} ({listed})")

    def _widen(self, field: pa.Field[Any], there: Mapping[str, str]) -> None:
        """Add the column, or change its type; SQLite takes any value in any column."""
        name, kind = _quoted(field.name), self._sql_type(field.type)
        if field.name not in there:
            self._execute(f"ALTER TABLE {self._name} ADD COLUMN {name} {kind}")
        elif not self._is_sqlite and there[field.name].upper() != kind.replace(
            "TIMESTAMPTZ", "TIMESTAMP WITH TIME ZONE"
        ):
            using = f"to_json({name})::text" if kind == "TEXT" else f"{name}::{kind}"
            if there[field.name].upper() == "TEXT":
                raise ExportError(
                    f"Column {field.name} of table {self._table} is text, and its values are not."
                )
            self._execute(f"ALTER TABLE {self._name} ALTER COLUMN {name} TYPE {kind} USING {using}")

    def _sql_type(self, kind: pa.DataType) -> str:
        types = _SQLITE_TYPES if self._is_sqlite else _POSTGRES_TYPES
        return types.get(str(kind), "TEXT")

    def _check_names(self, schema: pa.Schema) -> None:
        folded: dict[str, str] = {}
        for name in schema.names:
            if not self._is_sqlite and len(name.encode(errors="replace")) > _MAX_NAME:
                raise ExportError(
                    f"PostgreSQL cuts the name of column {name} off, because it is longer than"
                    f" {_MAX_NAME} bytes. Exclude the key."
                )
            if not self._is_sqlite and not name:
                raise ExportError(
                    "PostgreSQL has no columns without a name: say with `keys` which to export."
                )
            if self._is_sqlite and (other := folded.setdefault(name.lower(), name)) != name:
                raise ExportError(
                    f"SQLite cannot have both {other} and {name}: its column names ignore case."
                    " Exclude one of the keys."
                )

    def _ingest(self, batch: pa.RecordBatch) -> None:
        columns = [without_nul(lists_as_text(column)) for column in batch.columns]
        schema = pa.schema([(f.name, _type(f.type)) for f in batch.schema])
        arrays = [column.cast(kind.type) for column, kind in zip(columns, schema, strict=True)]
        rows = pa.RecordBatch.from_arrays(arrays, schema=schema)
        if rows.num_rows:
            with self._connection.cursor() as cursor:
                cursor.adbc_ingest(self._table, rows, mode="append")

    def _set_mark(self, run: str, mark: str) -> None:
        one, two, three = (self._value(number) for number in (1, 2, 3))
        self._execute(
            f"INSERT INTO {_MARKS} (name, run_id, mark) VALUES ({one}, {two}, {three})"  # noqa: S608
            " ON CONFLICT (name, run_id) DO UPDATE SET mark = excluded.mark",
            self._table,
            run,
            mark,
        )

    def _execute(self, statement: str, *values: str) -> list[Any]:
        with self._connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            return cursor.fetchall() if statement.startswith("SELECT") else []

    @contextmanager
    def _plain_errors(self) -> Iterator[None]:
        try:
            yield
        except self._error as error:
            reason = hide_secrets(str(error), self._url)
            raise ExportError(
                f"Cannot write table {self._table} of {redacted(self._url)}: {reason}"
            ) from None


def _driver(*, is_sqlite: bool) -> tuple[Any, type[Exception]]:
    """What connects to the database, and the class of its errors."""
    with extra_needed("database", "DatabaseSink"):
        import adbc_driver_manager

        if is_sqlite:
            from adbc_driver_sqlite.dbapi import connect as connect_sqlite

            return connect_sqlite, adbc_driver_manager.Error
        from adbc_driver_postgresql.dbapi import connect as connect_postgresql

        return connect_postgresql, adbc_driver_manager.Error


def _quoted(name: str) -> str:
    escaped = name.replace('"', '""')
    return f'"{escaped}"'


def _type(kind: pa.DataType) -> pa.DataType:
    return pa.string() if pa.types.is_list(kind) else plain_type(kind)
