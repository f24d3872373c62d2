"""Stores of the embedded W&B as earlier versions have made them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib import resources
from pathlib import Path

from aiowandb_server.store.schema import add_functions


@contextmanager
def old_store(folder: Path, version: int) -> Iterator[sqlite3.Connection]:
    """The store of a version that had so many migrations, and no data; what is added is kept."""
    scripts = resources.files("aiowandb_server.store") / "migrations"
    names = sorted(script.name for script in scripts.iterdir() if script.name.endswith(".sql"))
    folder.mkdir(exist_ok=True)
    with closing(sqlite3.connect(folder / "store.sqlite")) as connection:
        add_functions(connection)
        connection.execute("PRAGMA journal_mode = WAL")
        for name in names[:version]:
            connection.executescript((scripts / name).read_text(encoding="utf-8"))
        connection.execute(f"PRAGMA user_version = {version}")
        yield connection
        connection.commit()
