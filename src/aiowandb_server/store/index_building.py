"""Indexes a key of the runs that are there, and removes keys, in several transactions.

Others write in between: a run that changes brings its own value up to date. What is not finished,
because the process has ended, goes on when somebody filters by the key again.
"""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

from aiowandb_server.store.run_values import NO_VALUE, IndexedKey, keys_of, values_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiowandb_server.store.database import Database
    from aiowandb_server.store.run_fields import KeyPaths

MAX_KEYS_A_PROJECT = 64
_RUNS_AT_ONCE = 2_000
_VALUES_AT_ONCE = 10_000
_SAME_KEY = """
    project_id = :project AND document = :document
    AND path = :path AND path2 = :path2 AND path3 = :path3
"""


class IndexBuilder:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._in_work: set[int] = set()
        self._lock = Lock()

    def add(self, project_id: int, paths: KeyPaths) -> None:
        """Index the key; returns when all its values are known, or if another thread does it."""
        if (key_id := self._announce(project_id, paths)) is None:
            return
        with self._lock:
            if key_id in self._in_work:
                return
            self._in_work.add(key_id)
        try:
            self._build(project_id, key_id)
        finally:
            with self._lock:
                self._in_work.discard(key_id)
        self.remove_retired(project_id)

    def remove_retired(self, project_id: int | None = None) -> None:
        """Delete the values of keys that are no longer used, of one project or of all."""
        with self._database.read() as connection:
            retired = connection.execute(
                "SELECT id FROM indexed_key WHERE is_retired AND (? IS NULL OR project_id = ?)",
                (project_id, project_id),
            ).fetchall()
        for (key_id,) in retired:
            left = 1
            while left:
                with self._database.write(repeatable=True) as connection:
                    left = connection.execute(
                        """
                        DELETE FROM run_value WHERE key_id = ?1 AND run_id IN
                            (SELECT run_id FROM run_value WHERE key_id = ?1 LIMIT ?2)
                        """,
                        (key_id, _VALUES_AT_ONCE),
                    ).rowcount
                    if not left:
                        connection.execute("DELETE FROM indexed_key WHERE id = ?", (key_id,))

    def _announce(self, project_id: int, paths: KeyPaths) -> int | None:
        """The id of the key, if it has to be indexed; a key that is used least may be retired."""
        path, path2, path3 = paths.three
        same = {
            "project": project_id,
            "document": paths.document,
            "path": path,
            "path2": path2,
            "path3": path3,
        }
        find = f"SELECT id, built_to, is_retired FROM indexed_key WHERE {_SAME_KEY}"  # noqa: S608
        with self._database.read() as connection:
            known = connection.execute(find, same).fetchone()
        if known is not None and known["is_retired"]:
            # What is left of it has other values than the runs have now.
            self.remove_retired(project_id)
            known = None
        if known is None:
            with self._database.write(repeatable=True) as connection:
                connection.execute(
                    """
                    UPDATE indexed_key SET is_retired = 1 WHERE id IN
                        (SELECT id FROM indexed_key WHERE project_id = ? AND NOT is_retired
                         ORDER BY id DESC LIMIT -1 OFFSET ?)
                    """,
                    (project_id, MAX_KEYS_A_PROJECT - 1),
                )
                connection.execute(
                    """
                    INSERT INTO indexed_key (project_id, document, path, path2, path3, built_to)
                    SELECT id, :document, :path, :path2, :path3, 0 FROM project WHERE id = :project
                    ON CONFLICT DO NOTHING
                    """,
                    same,
                )
                known = connection.execute(find, same).fetchone()
        if known is None or known["built_to"] is None or known["is_retired"]:
            return None
        return int(known["id"])

    def _build(self, project_id: int, key_id: int) -> None:
        with self._database.read(piecewise=True) as connection:
            key = next((key for key in keys_of(connection, project_id) if key.id == key_id), None)
            run_ids = [
                run_id
                for (run_id,) in connection.execute(
                    "SELECT id FROM run WHERE project_id = ? AND id >"
                    " ifnull((SELECT built_to FROM indexed_key WHERE id = ?), 0) ORDER BY id",
                    (project_id, key_id),
                )
            ]
        if key is None or key.is_complete:
            return
        for start in range(0, len(run_ids), _RUNS_AT_ONCE):
            part = run_ids[start : start + _RUNS_AT_ONCE]
            values = list(self._values(key, part))
            with self._database.write(repeatable=True) as connection:
                is_current = connection.execute(
                    "UPDATE indexed_key SET built_to = ? WHERE id = ? AND NOT is_retired",
                    (part[-1], key_id),
                ).rowcount
                if not is_current:
                    return
                # Runs that have changed meanwhile have their values already.
                connection.executemany(
                    """
                    INSERT OR IGNORE INTO run_value SELECT ?, id, ?, ? FROM run
                    WHERE id = ? AND project_id = ?
                    """,
                    ((key_id, *value, run_id, project_id) for run_id, value in values),
                )
        with self._database.write(repeatable=True) as connection:
            connection.execute(
                "DELETE FROM run_value WHERE key_id = ? AND kind = ?", (key_id, NO_VALUE[0])
            )
            connection.execute(
                "UPDATE indexed_key SET built_to = NULL, version = version + 1 WHERE id = ?",
                (key_id,),
            )

    def _values(
        self, key: IndexedKey, run_ids: list[int]
    ) -> Iterator[tuple[int, tuple[str, object]]]:
        column = f"ifnull(finite_{key.document}, {key.document})"
        with self._database.read(piecewise=True) as connection:
            for run_id in run_ids:
                row = connection.execute(
                    f"SELECT {column} FROM run WHERE id = ?",  # noqa: S608 - one of two columns
                    (run_id,),
                ).fetchone()
                value = values_of(connection, row[0], [key])[key.id] if row else None
                if value is not None:
                    yield run_id, value
