"""What an export needs of a table elsewhere, to bring it up to date run by run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import pyarrow as pa
import pyarrow.compute as pc

from aiowandb.history.columns import json_text


@runtime_checkable
class TableSink(Protocol):
    """A table that keeps a mark for each of its runs, in the same transactions as the rows.

    All calls block. One export at a time uses it.
    """

    def open(self) -> Mapping[str, str]:
        """Connect; returns the marks, empty for a new table."""
        ...

    def begin(self, schema: pa.Schema, mark: str) -> None:
        """Make the table if need be, and give it these columns; they only become more or wider.

        `mark` is that of the table, under an empty name; it is committed with the rows.
        """
        ...

    def start_run(self, run: str, *, extends: bool) -> None:
        """Begin with the rows of a run, which replace its former ones or extend them."""
        ...

    def write(self, batch: pa.RecordBatch) -> None:
        """Add rows of the current run."""
        ...

    def finish_run(self, mark: str) -> None:
        """The current run is complete, and may be committed."""
        ...

    def discard_run(self) -> None:
        """Take back the rows of the current run."""
        ...

    def replace(self, rows: pa.Table, mark: str) -> None:
        """Replace the table by these rows; `mark` is that of the table."""
        ...

    def commit(self) -> None:
        """Make everything visible."""
        ...

    def close(self) -> None:
        """Disconnect. Runs that are finished are committed, and anything else is taken back."""
        ...


def plain_type(kind: pa.DataType) -> pa.DataType:
    """A type that other tables have: no dictionaries, and no columns of nulls only."""
    if pa.types.is_dictionary(kind):
        return kind.value_type  # type: ignore[no-any-return]
    return pa.string() if pa.types.is_null(kind) else kind


def lists_as_text(column: pa.Array[Any]) -> pa.Array[Any]:
    """Lists as JSON text, for tables without lists; other columns as they are."""
    if pa.types.is_list(column.type):
        return pa.array([None if v is None else json_text(v) for v in column.to_pylist()])
    return column


def without_nul(column: pa.Array[Any]) -> pa.Array[Any]:
    """Text without NUL characters, which PostgreSQL cannot store."""
    if pa.types.is_string(column.type):
        return pc.replace_substring(column, "\0", "\N{REPLACEMENT CHARACTER}")
    return column
