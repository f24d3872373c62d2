"""The versioned schema: migrations for older stores, and their result for new ones."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from aiowandb_server.errors import DataFolderError
from aiowandb_server.store.filters import matches_pattern
from aiowandb_server.store.json_text import readable, without_halves

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def add_functions(connection: sqlite3.Connection) -> None:
    """Register the functions that queries, triggers and migrations call."""
    connection.create_function("regexp", 2, matches_pattern, deterministic=True)
    connection.create_function("without_halves", 1, without_halves, deterministic=True)
    connection.create_function("readable_json", 1, readable, deterministic=True)


def bring_up_to_date(connection: sqlite3.Connection, path: Path) -> None:
    """Create the schema in an empty file, or migrate that of an older version.

    It runs in the caller's transaction, so that no store is ever half migrated.
    """
    migrations = _migrations()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(migrations):
        raise DataFolderError(
            f"{path} was written by a newer aiowandb (schema {version}, this one supports "
            f"{len(migrations)}): upgrade aiowandb to open it"
        )
    if version == 0:
        statements, counters = _latest()
        for statement in statements:
            connection.execute(statement)
        connection.executemany("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", counters)
    else:
        _migrate(connection, migrations[version:])
    connection.execute(f"PRAGMA user_version = {len(migrations)}")


def _migrate(connection: sqlite3.Connection, migrations: tuple[str, ...]) -> None:
    for script in migrations:
        for statement in _statements(script):
            connection.execute(statement)


@cache
def _latest() -> tuple[tuple[str, ...], tuple[tuple[str, int], ...]]:
    """The statements of the latest schema, and its id counters.

    Running all migrations, which create many tables twice, would take ten times as long.
    """
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        add_functions(connection)
        _migrate(connection, _migrations())
        made = connection.execute(
            "SELECT sql FROM sqlite_schema WHERE sql NOT NULL AND name NOT GLOB 'sqlite_*'"
            " ORDER BY rowid"
        )
        statements = tuple(sql for (sql,) in made)
        return statements, tuple(connection.execute("SELECT name, seq FROM sqlite_sequence"))


@cache
def _migrations() -> tuple[str, ...]:
    folder = resources.files("aiowandb_server.store") / "migrations"
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)
    return tuple(file.read_text(encoding="utf-8") for file in files)


def _statements(script: str) -> Iterator[str]:
    # `executescript` would commit the open transaction.
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
