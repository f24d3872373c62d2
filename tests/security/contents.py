"""The rows of a store: which of them a request has changed, and to whom they belong."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

Row = tuple[str, tuple[Any, ...]]


class Contents:
    """The contents of a store as they are now, to which it goes back after each change."""

    def __init__(self, folder: Path) -> None:
        self._connection = sqlite3.connect(folder / "store.sqlite")
        self._before = sqlite3.connect(":memory:")
        self._connection.backup(self._before)
        tables = self._connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        self._tables = [name for (name,) in tables if not name.startswith("sqlite_")]
        # For each table, where its rows have the ids of which other table's.
        self._references = {name: self._references_of(name) for name in self._tables}
        self._version = self._data_version()
        self._rows = self._read()

    def undo(self) -> set[Row]:
        """The rows that are new, gone or different; all is as it was before."""
        if self._data_version() == self._version:
            return set()
        changed = self._rows ^ self._read()
        self._before.backup(self._connection)
        self._version = self._data_version()
        return changed

    def owners(self, row: Row, changed: set[Row]) -> set[str]:
        """Names of the entities and users that a row belongs to, or refers to by what it holds."""
        table, values = row
        if table in ("entity", "user"):
            return {str(values[1])}
        by_id = {(name, found[0]): (name, found) for name, found in self._rows | changed}
        return {
            owner
            for index, referred in self._references[table]
            if (found := by_id.get((referred, values[index]))) is not None
            for owner in self.owners(found, changed)
        }

    def close(self) -> None:
        self._connection.close()
        self._before.close()

    def _data_version(self) -> int:
        """A number that changes with each transaction of another connection."""
        return int(self._connection.execute("PRAGMA data_version").fetchone()[0])

    def _read(self) -> set[Row]:
        return {
            (name, row)
            for name in self._tables
            for row in self._connection.execute(f"SELECT * FROM {name}")
        }

    def _references_of(self, table: str) -> list[tuple[int, str]]:
        columns = [row[1] for row in self._connection.execute(f"PRAGMA table_info({table})")]
        keys = self._connection.execute(f"PRAGMA foreign_key_list({table})").fetchall()
        return [(columns.index(key[3]), key[2]) for key in keys]
