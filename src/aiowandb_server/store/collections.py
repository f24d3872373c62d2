"""Artifact types and collections, with their aliases and tags."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import orjson

from aiowandb_server.errors import RequestError
from aiowandb_server.store.artifact_records import (
    AliasRow,
    ArtifactType,
    CollectionRow,
    MembershipRow,
    Tag,
)
from aiowandb_server.store.conditions import Sql, every
from aiowandb_server.store.deleting import IS_KEPT, delete_collection
from aiowandb_server.store.fields import FilterField, column, fields_among, moment
from aiowandb_server.store.filters import compile_filter
from aiowandb_server.store.ordering import cursor_of, number_of, parse_order
from aiowandb_server.store.records import ListPage

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Sequence

    from aiowandb_server.store.database import Database
    from aiowandb_server.store.records import ProjectRow

_FROM = "FROM collection JOIN artifact_type ON artifact_type.id = collection.type_id"
_COLLECTION = f"SELECT collection.*, artifact_type.name AS type_name {_FROM}"
_TAGS = """
    SELECT value, type FROM (SELECT name AS value, 'text' AS type FROM collection_tag
                             WHERE collection_id = collection.id)
"""
_field = fields_among(
    {
        "name": column("collection.name", never_null=True),
        "description": column("collection.description"),
        "created_at": moment("collection.created_at"),
        "createdAt": moment("collection.created_at"),
        "updated_at": moment("collection.updated_at"),
        "updatedAt": moment("collection.updated_at"),
        "tag": FilterField(Sql("NULL"), Sql("'array'"), Sql(_TAGS)),
        "tags": FilterField(Sql("NULL"), Sql("'array'"), Sql(_TAGS)),
    },
    "artifact collections",
)
_VERSION = re.compile(r"v(\d+)")


class Collections:
    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock

    def ensure(
        self, project: ProjectRow, name: str, type_name: str, kind: str = "SEQUENCE"
    ) -> CollectionRow:
        """The collection of that name, created if necessary; its type and kind must match."""
        _check_name(name)
        now = int(self._clock())
        with self._database.write(repeatable=True) as connection:
            connection.execute(
                """
                INSERT INTO artifact_type (project_id, name, created_at) VALUES (?, ?, ?)
                ON CONFLICT DO NOTHING
                """,
                (project.id, type_name, now),
            )
            connection.execute(
                """
                INSERT INTO collection (project_id, type_id, kind, name, created_at, updated_at)
                SELECT ?, id, ?, ?, ?, ? FROM artifact_type WHERE project_id = ? AND name = ?
                ON CONFLICT DO NOTHING
                """,
                (project.id, kind, name, now, now, project.id, type_name),
            )
            row = connection.execute(
                f"{_COLLECTION} WHERE collection.project_id = ? AND collection.name = ?",
                (project.id, name),
            ).fetchone()
        collection = CollectionRow(*row)
        if (collection.type_name, collection.kind) != (type_name, kind):
            raise RequestError(
                f"{name!r} is a {collection.kind.lower()} of artifacts of type "
                f"{collection.type_name!r}, not a {kind.lower()} of type {type_name!r}"
            )
        return collection

    def get(self, project_id: int, name: str) -> CollectionRow | None:
        return self._one("collection.project_id = ? AND collection.name = ?", project_id, name)

    def by_id(self, collection_id: int) -> CollectionRow | None:
        return self._one("collection.id = ?", collection_id)

    def page(
        self,
        project_id: int,
        type_id: int | None,
        *,
        filters: object = None,
        order: str | None = None,
        first: int,
        after: str | None = None,
    ) -> ListPage[CollectionRow]:
        """Collections of one type or of all, in the given order, by default newest first."""
        ordering = parse_order(order or "-created_at", _field, "collection.id")
        where = every([_of_type(project_id, type_id, filters), ordering.after(after)])
        with self._database.read() as connection:
            rows = connection.execute(
                f"""
                SELECT collection.*, artifact_type.name AS type_name, {ordering.key.text} AS place
                {_FROM} WHERE {where.text} ORDER BY {ordering.sql.text} LIMIT ?
                """,
                (*ordering.key.parameters, *where.parameters, *ordering.sql.parameters, first + 1),
            ).fetchall()
        found = [CollectionRow(*row[:-1]) for row in rows[:first]]
        cursors = [cursor_of(row["place"], row["id"]) for row in rows[:first]]
        return ListPage(found, cursors, len(rows) > first)

    def count(self, project_id: int, type_id: int | None, filters: object = None) -> int:
        where = _of_type(project_id, type_id, filters)
        with self._database.read() as connection:
            (count,) = connection.execute(
                f"SELECT count(*) FROM collection WHERE {where.text}",  # noqa: S608 - see Sql
                where.parameters,
            ).fetchone()
        return int(count)

    def change(
        self,
        collection_id: int,
        *,
        name: str | None = None,
        description: str | None = None,
        type_name: str | None = None,
    ) -> CollectionRow | None:
        if name is not None:
            _check_name(name)
        now = int(self._clock())
        with self._database.write() as connection:
            taken = connection.execute(
                """
                SELECT 1 FROM collection JOIN collection AS own ON own.id = ?
                WHERE collection.project_id = own.project_id AND collection.name = ?
                  AND collection.id <> own.id
                """,
                (collection_id, name),
            ).fetchone()
            if taken:
                raise RequestError(f"this project has another artifact collection {name!r}")
            if type_name is not None:
                connection.execute(
                    """
                    INSERT INTO artifact_type (project_id, name, created_at)
                    SELECT project_id, ?, ? FROM collection WHERE id = ? ON CONFLICT DO NOTHING
                    """,
                    (type_name, now, collection_id),
                )
            connection.execute(
                """
                UPDATE collection SET name = ifnull(:name, name), updated_at = :now,
                    description = ifnull(:description, description),
                    type_id = ifnull((SELECT id FROM artifact_type
                        WHERE project_id = collection.project_id AND name = :type), type_id)
                WHERE id = :id
                """,
                {
                    "name": name,
                    "description": description,
                    "type": type_name,
                    "now": now,
                    "id": collection_id,
                },
            )
        return self.by_id(collection_id)

    def delete(self, collection_id: int) -> None:
        delete_collection(self._database, collection_id)

    def page_of_types(
        self, project_id: int, *, first: int, after: str | None = None
    ) -> ListPage[ArtifactType]:
        """In order of creation."""
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT * FROM artifact_type WHERE project_id = ? AND id > ? ORDER BY id LIMIT ?",
                (project_id, number_of(after) or 0, first + 1),
            ).fetchall()
        found = [ArtifactType(*row) for row in rows[:first]]
        return ListPage(found, [str(kind.id) for kind in found], len(rows) > first)

    def types(self, project_id: int) -> list[ArtifactType]:
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT * FROM artifact_type WHERE project_id = ? ORDER BY id", (project_id,)
            ).fetchall()
        return [ArtifactType(*row) for row in rows]

    def membership(self, collection_id: int, alias: str) -> MembershipRow | None:
        """The member with this alias or version (`v3`)."""
        version = _VERSION.fullmatch(alias)
        with self._database.read() as connection:
            row = connection.execute(
                """
                SELECT membership.* FROM membership
                LEFT JOIN alias ON alias.membership_id = membership.id AND alias.name = ?
                WHERE membership.collection_id = ? AND (alias.id IS NOT NULL OR version = ?)
                """,
                (alias, collection_id, number_of(version[1]) if version else None),
            ).fetchone()
        return MembershipRow(*row) if row else None

    def aliases(self, collection_id: int, membership_id: int | None = None) -> list[AliasRow]:
        with self._database.read() as connection:
            rows = connection.execute(
                """
                SELECT * FROM alias WHERE collection_id = ? AND (? IS NULL OR membership_id = ?)
                ORDER BY id
                """,
                (collection_id, membership_id, membership_id),
            ).fetchall()
        return [AliasRow(*row) for row in rows]

    def add_alias(self, collection: CollectionRow, artifact_id: int, alias: str) -> None:
        with self._database.write() as connection:
            set_alias(connection, collection.id, artifact_id, alias)

    def delete_alias(self, collection: CollectionRow, artifact_id: int, alias: str) -> None:
        with self._database.write() as connection:
            connection.execute(
                """
                DELETE FROM alias WHERE collection_id = ? AND name = ? AND membership_id IN
                    (SELECT id FROM membership WHERE artifact_id = ?)
                """,
                (collection.id, alias, artifact_id),
            )

    def tags(self, collection_id: int) -> list[Tag]:
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT id, name FROM collection_tag WHERE collection_id = ? ORDER BY id",
                (collection_id,),
            ).fetchall()
        return [Tag(*row) for row in rows]

    def change_tags(
        self, collection: CollectionRow, *, add: Sequence[str] = (), remove: Sequence[str] = ()
    ) -> list[Tag]:
        with self._database.write() as connection:
            connection.executemany(
                "DELETE FROM collection_tag WHERE collection_id = ? AND name = ?",
                [(collection.id, name) for name in remove],
            )
            connection.executemany(
                "INSERT OR IGNORE INTO collection_tag (collection_id, name) VALUES (?, ?)",
                [(collection.id, name) for name in add],
            )
        return self.tags(collection.id)

    def _one(self, where: str, *parameters: object) -> CollectionRow | None:
        with self._database.read() as connection:
            row = connection.execute(f"{_COLLECTION} WHERE {where}", parameters).fetchone()
        return CollectionRow(*row) if row else None


def join(connection: sqlite3.Connection, collection_id: int, artifact_id: int, now: int) -> None:
    """Add the version to the collection, with a number that has never been used there."""
    known = connection.execute(
        "SELECT 1 FROM membership WHERE collection_id = ? AND artifact_id = ?",
        (collection_id, artifact_id),
    ).fetchone()
    if known:
        return
    (after,) = connection.execute(
        """
        INSERT INTO version_count VALUES (?, 1) ON CONFLICT DO UPDATE SET next = next + 1
        RETURNING next
        """,
        (collection_id,),
    ).fetchone()
    connection.execute(
        """
        INSERT INTO membership (collection_id, artifact_id, version, created_at)
        SELECT ?, id, ?, ? FROM artifact WHERE id = ? AND state <> 'DELETED'
        """,
        (collection_id, after - 1, now, artifact_id),
    )


def set_alias(
    connection: sqlite3.Connection, collection_id: int, artifact_id: int, alias: str
) -> None:
    """Point the alias at the version, which must be a member of the collection."""
    connection.execute(
        """
        INSERT INTO alias (collection_id, membership_id, name)
        SELECT collection_id, id, ? FROM membership WHERE collection_id = ? AND artifact_id = ?
        ON CONFLICT (collection_id, name) DO UPDATE SET membership_id = excluded.membership_id
        """,
        (alias, collection_id, artifact_id),
    )


def owned_by(entities: Iterable[str] | None, *, or_linked: bool = False) -> Sql:
    """The condition that a version belongs to one of these entities; None are all.

    With `or_linked`, it may also only be linked into a collection of one of them.
    """
    own = "collection.id = artifact.collection_id"
    linked = (
        "collection.id IN (SELECT collection_id FROM membership WHERE artifact_id = artifact.id)"
    )
    visible = "" if entities is None else "AND entity.name IN (SELECT value FROM json_each(?))"
    return Sql(
        f"""
        EXISTS (SELECT 1 FROM collection
                JOIN project ON project.id = collection.project_id AND {IS_KEPT}
                JOIN entity ON entity.id = project.entity_id
                WHERE {f"({own} OR {linked})" if or_linked else own} {visible})
        """,  # noqa: S608 - constants
        () if entities is None else (orjson.dumps(list(entities)).decode(),),
    )


def _of_type(project_id: int, type_id: int | None, filters: object) -> Sql:
    place = Sql(
        "collection.project_id = ? AND (? IS NULL OR type_id = ?)", (project_id, type_id, type_id)
    )
    return every([place, compile_filter(filters, _field)])


def _check_name(name: str) -> None:
    if not name or len(name) > 128 or "/" in name or ":" in name:
        raise RequestError(
            f"{name!r} is not a valid artifact name: 1 to 128 characters without / and :"
        )
