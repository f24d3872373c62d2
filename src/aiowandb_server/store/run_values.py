"""The values that runs have for the indexed keys: found in one pass, and stored with the run.

A document with 150,000 keys is searched for all indexed keys at once, and before the transaction
that stores it: all other writers wait for that.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import orjson

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Mapping, Sequence

    from aiowandb_server.store.database import Database

# A run without a value for a key that is being indexed.
NO_VALUE = ("none", None)
_LONG = ("long", None)
_MAX_TEXT = 500
# In characters: searching less takes less than a millisecond.
_SMALL = 50_000

Path = tuple[str, ...]
# The JSON type of a value, or `long` for what is not in the index: lists, objects and long texts.
Value = tuple[str, object]


class IndexedKey(NamedTuple):
    """A key, whose value is at the first of the paths that exists. Not all runs may be indexed."""

    id: int
    document: str
    paths: tuple[Path, ...]
    is_complete: bool


@dataclass(frozen=True, slots=True)
class ChangedDocuments:
    """New documents of a run by column (`config`, `summary`), as SQLite can parse them.

    `found` has values that are known already, by the id of the key.
    """

    texts: Mapping[str, str]
    found: Mapping[int, Value | None] = field(default_factory=dict)

    @classmethod
    def searched(
        cls, database: Database, project_id: int, texts: Mapping[str, str]
    ) -> ChangedDocuments:
        """Search them now, outside of the transaction, if that takes long."""
        if sum(map(len, texts.values())) < _SMALL:
            return cls(texts)
        with database.read(piecewise=True) as connection:
            return cls(texts, _found(connection, keys_of(connection, project_id), texts))

    def store(self, connection: sqlite3.Connection, project_id: int, run_id: int) -> None:
        """Bring the index up to date, in the transaction that changes the run."""
        if not self.texts:
            return
        keys = [key for key in keys_of(connection, project_id) if key.document in self.texts]
        if not keys:
            return
        # Keys that were indexed since then are searched now.
        new = [key for key in keys if key.id not in self.found]
        found = {**self.found, **_found(connection, new, self.texts)}
        before = {
            key_id: (kind, value)
            for key_id, kind, value in connection.execute(
                "SELECT key_id, kind, value FROM run_value WHERE run_id = ?"
                " AND key_id IN (SELECT value FROM json_each(?))",
                (run_id, orjson.dumps([key.id for key in keys]).decode()),
            )
        }
        for key in keys:
            value = found[key.id] or (None if key.is_complete else NO_VALUE)
            if value != before.get(key.id):
                _replace(connection, key.id, run_id, value)


def keys_of(connection: sqlite3.Connection, project_id: int) -> list[IndexedKey]:
    """The keys of a project that are indexed, or being indexed."""
    rows = connection.execute(
        "SELECT id, document, path, path2, path3, built_to IS NULL FROM indexed_key"
        " WHERE project_id = ? AND NOT is_retired",
        (project_id,),
    )
    return [
        IndexedKey(key_id, document, tuple(dict.fromkeys(map(_parts, paths))), bool(is_complete))
        for key_id, document, *paths, is_complete in rows
    ]


def values_of(
    connection: sqlite3.Connection, text: str, keys: Sequence[IndexedKey]
) -> dict[int, Value | None]:
    """The values of a document, by the id of the key; None if it has none."""
    found = _search(connection, text, {path for key in keys for path in key.paths})
    return {
        key.id: next((found[path] for path in key.paths if path in found), None) for key in keys
    }


def _found(
    connection: sqlite3.Connection, keys: Sequence[IndexedKey], texts: Mapping[str, str]
) -> dict[int, Value | None]:
    found: dict[int, Value | None] = {}
    for document, text in texts.items():
        wanted = [key for key in keys if key.document == document]
        if wanted:
            found |= values_of(connection, text, wanted)
    return found


def _search(
    connection: sqlite3.Connection, text: str, paths: Collection[Path]
) -> dict[Path, Value]:
    """The values at those of the paths that exist in a JSON object."""
    inner: defaultdict[str, set[Path]] = defaultdict(set)
    for first, *rest in paths:
        inner[first].add(tuple(rest))
    # The values of lists and objects are their texts: only those that are searched are needed.
    opened = [name for name, rests in inner.items() if rests != {()}]
    rows = connection.execute(
        f"""
        SELECT key, type, CASE WHEN type NOT IN ('array', 'object')
            OR key IN ({_marks(opened)}) THEN value END
        FROM json_each(?) WHERE key IN ({_marks(inner)})
        """,  # noqa: S608 - question marks
        (*opened, text, *inner),
    ).fetchall()
    found: dict[Path, Value] = {}
    for name, kind, value in rows:
        rests = inner.pop(name, set())  # of several with one name, SQLite uses the first
        if () in rests:
            found[name,] = _indexed(kind, value)
        if kind == "object" and (deeper := rests - {()}):
            found |= {
                (name, *path): known for path, known in _search(connection, value, deeper).items()
            }
    return found


def _marks(names: Collection[str]) -> str:
    return ", ".join("?" * len(names))


def _indexed(kind: str, value: object) -> Value:
    if kind in ("array", "object") or (isinstance(value, str) and len(value) > _MAX_TEXT):
        return _LONG
    return kind, value


def _replace(connection: sqlite3.Connection, key_id: int, run_id: int, value: Value | None) -> None:
    connection.execute("UPDATE indexed_key SET version = version + 1 WHERE id = ?", (key_id,))
    if value is None:
        connection.execute(
            "DELETE FROM run_value WHERE key_id = ? AND run_id = ?", (key_id, run_id)
        )
    else:
        connection.execute(
            "INSERT OR REPLACE INTO run_value VALUES (?, ?, ?, ?)", (key_id, run_id, *value)
        )


def _parts(path: str) -> Path:
    """The keys in a path like `$."a"."b"`, as `run_fields` writes it."""
    parts: list[str] = []
    at = 1
    while at < len(path):
        part, at = json.JSONDecoder().raw_decode(path, at + 1)
        parts.append(part)
    return tuple(parts)
