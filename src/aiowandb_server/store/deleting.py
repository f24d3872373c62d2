"""Deletes what may be large, runs, projects and collections, in many transactions.

All other writers wait for a transaction. In the first one, the thing disappears for all readers: it
is moved to a project with a name that no client can ask for. Then its rows are deleted in parts. If
the process ends meanwhile, this goes on when the store is opened again.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import orjson

from aiowandb_server.store.index_building import IndexBuilder

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from aiowandb_server.store.database import Database

# The condition that a project is not being deleted.
IS_KEPT = "project.name NOT GLOB '/*'"
# Fewer rows are deleted with their owner.
SMALL = 2_000
# So many rows are deleted in one transaction: first the least, then more while that is fast.
LEAST_ROWS = 500
MOST_ROWS = 10_000
_SHORT_S, _LONG_S = 0.02, 0.1
_OWNERS_AT_ONCE = 500


class _OwnedRows(NamedTuple):
    """Rows of a table that belong to an owner: the column with its id, and what identifies a row.

    Each takes as long as `weight` rows.
    """

    table: str
    owner: str
    key: str = "rowid"
    weight: int = 1


class _Level(NamedTuple):
    """Things in a project, and the rows that belong to each of them."""

    table: str
    select: str
    rows: tuple[_OwnedRows, ...]


_OF_RUN = (
    _OwnedRows("line_block", "run_id", weight=50),
    _OwnedRows("line", "run_id"),
    _OwnedRows("rejected_line", "run_id"),
    _OwnedRows("replaced_line", "run_id"),
    _OwnedRows("writer_range", "run_id", "run_id, stream, writer, first"),
    _OwnedRows("file", "run_id"),
    _OwnedRows("alert", "run_id"),
    _OwnedRows("artifact_use", "run_id", "run_id, artifact_id, direction"),
)
_OF_ARTIFACT = (
    # First what makes it visible elsewhere.
    _OwnedRows("membership", "artifact_id"),
    _OwnedRows("artifact_use", "artifact_id", "run_id, artifact_id, direction"),
    _OwnedRows("entry", "artifact_id", "artifact_id, name"),
    _OwnedRows("manifest", "artifact_id"),
    _OwnedRows("artifact_tag", "artifact_id"),
    _OwnedRows("artifact_client", "artifact_id"),
)
_OF_COLLECTION = (
    _OwnedRows("membership", "collection_id"),
    _OwnedRows("alias", "collection_id"),
    _OwnedRows("collection_tag", "collection_id"),
)
_OF_SWEEP = (
    _OwnedRows("assignment", "sweep_id", "sweep_id, number"),
    _OwnedRows("agent", "sweep_id"),
)
_DIRECTLY = "SELECT id FROM {0} WHERE project_id = ?"
_LEVELS = (
    _Level("run", _DIRECTLY.format("run"), _OF_RUN),
    _Level(
        "artifact",
        "SELECT artifact.id FROM collection JOIN artifact ON artifact.collection_id = collection.id"
        " WHERE collection.project_id = ?",
        _OF_ARTIFACT,
    ),
    _Level("collection", _DIRECTLY.format("collection"), _OF_COLLECTION),
    _Level("artifact_type", _DIRECTLY.format("artifact_type"), ()),
    _Level("sweep", _DIRECTLY.format("sweep"), _OF_SWEEP),
    _Level("report", _DIRECTLY.format("report"), ()),
)


def delete_run(database: Database, run_id: int) -> bool:
    """Delete the run; returns whether there was one."""
    if _is_small(database, _OF_RUN, [run_id]):
        with database.write() as connection:
            return connection.execute("DELETE FROM run WHERE id = ?", (run_id,)).rowcount > 0
    with database.write() as connection:
        row = connection.execute("SELECT project_id FROM run WHERE id = ?", (run_id,)).fetchone()
        if row is None:
            return False
        hidden = _hidden_project(connection, row["project_id"])
        connection.execute(
            """
            UPDATE indexed_key SET version = version + 1
            WHERE id IN (SELECT id FROM indexed_key WHERE project_id = ?)
            """,
            (row["project_id"],),
        )
        connection.execute(
            "DELETE FROM run_value WHERE run_id = ?"
            " AND key_id IN (SELECT id FROM indexed_key WHERE project_id = ?)",
            (run_id, row["project_id"]),
        )
        connection.execute(
            "UPDATE run SET project_id = ?, name = '/' || id WHERE id = ?", (hidden, run_id)
        )
        connection.execute(
            "UPDATE project SET run_count = run_count + iif(id = ?1, 1, -1) WHERE id IN (?1, ?2)",
            (hidden, row["project_id"]),
        )
    _delete_hidden(database, hidden)
    return True


def delete_project(database: Database, project_id: int) -> None:
    """Delete the project and everything in it."""
    with database.write() as connection:
        connection.execute("UPDATE project SET name = '/' || id WHERE id = ?", (project_id,))
    _delete_hidden(database, project_id)


def delete_collection(database: Database, collection_id: int) -> None:
    """Delete the collection with the versions that were made in it."""
    with database.write() as connection:
        row = connection.execute(
            "SELECT project_id FROM collection WHERE id = ?", (collection_id,)
        ).fetchone()
        if row is None:
            return
        hidden = _hidden_project(connection, row["project_id"])
        connection.execute(
            "UPDATE collection SET project_id = ?, name = '/' || id WHERE id = ?",
            (hidden, collection_id),
        )
    _delete_hidden(database, hidden)


def finish_deleting(database: Database, until: float) -> None:
    """Delete what was being deleted when the process ended, unless it is that late before."""
    with database.read() as connection:
        hidden = connection.execute(f"SELECT id FROM project WHERE NOT {IS_KEPT}").fetchall()  # noqa: S608
    for (project_id,) in hidden:
        if not _delete_hidden(database, project_id, until):
            return


def _hidden_project(connection: sqlite3.Connection, project_id: int) -> int:
    """The project for what is being deleted, of the same entity."""
    connection.execute(
        """
        INSERT INTO project (entity_id, name, created_at)
        SELECT entity_id, '/deleted', unixepoch() FROM project WHERE id = ? ON CONFLICT DO NOTHING
        """,
        (project_id,),
    )
    (hidden,) = connection.execute(
        """
        SELECT id FROM project WHERE name = '/deleted'
            AND entity_id = (SELECT entity_id FROM project WHERE id = ?)
        """,
        (project_id,),
    ).fetchone()
    return int(hidden)


def _delete_hidden(database: Database, project_id: int, until: float | None = None) -> bool:
    """Delete everything in the project, and then itself; returns whether there was time."""
    pace = DeletionPace(until)
    while True:
        for level in _LEVELS:
            _delete_level(database, level, project_id, pace)
        with database.write() as connection:
            connection.execute(
                "UPDATE indexed_key SET is_retired = 1 WHERE project_id = ?", (project_id,)
            )
        IndexBuilder(database).remove_retired(project_id)
        if pace.is_over:
            return False
        # Somebody may have added something just now, who had found the project before.
        rest = " OR ".join(f"EXISTS ({level.select.replace('?', '?1')})" for level in _LEVELS)
        with database.write() as connection:
            connection.execute(
                f"DELETE FROM project WHERE id = ?1 AND NOT ({rest})",  # noqa: S608 - known names
                (project_id,),
            )
            left = connection.execute("SELECT 1 FROM project WHERE id = ?", (project_id,))
            if left.fetchone() is None:
                return True


class DeletionPace:
    """How many rows to delete in the next transaction, by how long the last one has taken."""

    def __init__(self, until: float | None) -> None:
        self.rows = LEAST_ROWS
        self._until = until

    @property
    def is_over(self) -> bool:
        return self._until is not None and time.monotonic() > self._until

    def took(self, seconds: float) -> None:
        if seconds > _LONG_S:
            self.rows = max(self.rows // 2, LEAST_ROWS // 10)
        elif seconds < _SHORT_S:
            self.rows = min(self.rows * 2, MOST_ROWS)


def _delete_level(database: Database, level: _Level, project_id: int, pace: DeletionPace) -> None:
    while not pace.is_over:
        with database.read() as connection:
            found = connection.execute(f"{level.select} LIMIT ?", (project_id, _OWNERS_AT_ONCE))
            owners = [owner for (owner,) in found]
        if not owners:
            return
        if level.table == "run":
            _forget_runs(database, owners, pace)
        if not _is_small(database, level.rows, owners):
            for rows in level.rows:
                _delete_rows(database, rows, owners, pace)
        if not pace.is_over:
            _delete_rows(database, _OwnedRows(level.table, "id"), owners, pace)


def _delete_rows(
    database: Database, rows: _OwnedRows, owners: Sequence[int], pace: DeletionPace
) -> None:
    table, owner, key, weight = rows
    these = " AND ".join(f"{column} = ?" for column in key.split(", "))
    deleted = True
    while deleted and not pace.is_over:
        with database.write() as connection:
            started = time.monotonic()
            keys = connection.execute(
                f"""
                SELECT {key} FROM {table} WHERE {owner} IN (SELECT value FROM json_each(?)) LIMIT ?
                """,  # noqa: S608 - known names
                (orjson.dumps(owners).decode(), max(pace.rows // weight, 1)),
            ).fetchall()
            # One by one: SQLite would look for a list of keys among all rows of the owner.
            connection.executemany(f"DELETE FROM {table} WHERE {these}", map(tuple, keys))  # noqa: S608
            deleted = bool(keys)
        pace.took(time.monotonic() - started)


def _forget_runs(database: Database, run_ids: Sequence[int], pace: DeletionPace) -> None:
    """Let versions forget which of these runs has made them."""
    changed = True
    while changed and not pace.is_over:
        with database.write() as connection:
            changed = bool(
                connection.execute(
                    """
                    UPDATE artifact SET run_id = NULL WHERE id IN (SELECT id FROM artifact
                        WHERE run_id IN (SELECT value FROM json_each(?)) LIMIT ?)
                    """,
                    (orjson.dumps(run_ids).decode(), MOST_ROWS),
                ).rowcount
            )


def _is_small(database: Database, parts: tuple[_OwnedRows, ...], owners: Sequence[int]) -> bool:
    """Whether few rows belong to these owners, so that they can be deleted together."""
    if not parts:
        return True
    counted = " + ".join(
        f"""(SELECT {weight} * count(*) FROM (SELECT 1 FROM {table}
             WHERE {owner} IN (SELECT value FROM json_each(?1)) LIMIT ?2))"""  # noqa: S608
        for table, owner, _, weight in parts
    )
    with database.read() as connection:
        (count,) = connection.execute(
            f"SELECT {counted}",
            (orjson.dumps(owners).decode(), SMALL + 1),
        ).fetchone()
    return int(count) <= SMALL
