"""Artifact versions: create, commit, link, use, delete."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from aiowandb_server.errors import RequestError
from aiowandb_server.store.artifact_records import ArtifactRow, MembershipRow, NewVersion, Tag
from aiowandb_server.store.collections import join, owned_by, set_alias
from aiowandb_server.store.ordering import number_of
from aiowandb_server.store.records import ListPage

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Collection, Sequence

    from aiowandb_server.store.artifact_records import CollectionRow
    from aiowandb_server.store.database import Database
    from aiowandb_server.store.records import RunRow

_ARTIFACT = """
    SELECT artifact.*, membership.version
    FROM artifact LEFT JOIN membership ON membership.artifact_id = artifact.id
                                      AND membership.collection_id = artifact.collection_id
"""
# Ids that clients choose are their own within a project: others may have chosen the same ones.
_OF_PROJECT = "(SELECT project_id FROM collection WHERE id = artifact.collection_id) = :project"
# A version has the id of the client that created it, and those of clients with the same content.
_OF_CLIENT = (
    "artifact.id IN (SELECT id FROM artifact WHERE client_id = ?"
    " UNION SELECT artifact_id FROM artifact_client WHERE client_id = ?)"
)


class ArtifactTable:
    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock

    def create(self, collection: CollectionRow, new: NewVersion) -> ArtifactRow:
        """Create a version, which is PENDING until it is committed; or return the COMMITTED one
        with the same content, if the collection has one, which then gets the aliases."""
        now = int(self._clock())
        with self._database.write() as connection:
            known = _announced(connection, collection, new)
            if known is None:
                # A deleted version keeps its row, but its client id can be used again.
                connection.execute(
                    f"""
                    UPDATE artifact SET client_id = NULL
                    WHERE client_id = :client AND state = 'DELETED' AND {_OF_PROJECT}
                    """,  # noqa: S608 - a constant
                    {"client": new.client_id, "project": collection.project_id},
                )
                connection.execute(
                    f"""
                    DELETE FROM artifact_client WHERE client_id = :client
                        AND EXISTS (SELECT 1 FROM artifact WHERE id = artifact_id AND {_OF_PROJECT})
                    """,  # noqa: S608 - a constant
                    {"client": new.client_id, "project": collection.project_id},
                )
                (artifact_id,) = connection.execute(
                    """
                    INSERT INTO artifact (collection_id, client_id, distributed_id, state, digest,
                        description, metadata, ttl_seconds, history_step, aliases, run_id, user_id,
                        created_at, updated_at, digest_algorithm)
                    VALUES (?, ?, ?, 'PENDING', ?, ?, ?, ifnull(?, -2), ?, ?, ?, ?, ?, ?, ?)
                    RETURNING id
                    """,
                    (
                        collection.id,
                        new.client_id,
                        new.distributed_id,
                        new.digest,
                        new.description,
                        new.metadata,
                        new.ttl_seconds,
                        new.history_step,
                        orjson.dumps(new.aliases).decode(),
                        new.run_id,
                        new.user_id,
                        now,
                        now,
                        new.digest_algorithm,
                    ),
                ).fetchone()
            else:
                artifact_id = known
                # What was logged refers to the version by this id, too.
                connection.execute(
                    """
                    INSERT OR IGNORE INTO artifact_client (client_id, artifact_id)
                    SELECT :client, :artifact WHERE :client IS NOT NULL
                    """,
                    {"client": new.client_id, "artifact": known},
                )
                for alias in new.aliases:
                    set_alias(connection, collection.id, artifact_id, alias)
            _tag(connection, artifact_id, new.tags)
            if new.run_id is not None:
                _note_use(connection, new.run_id, artifact_id, "output", None)
            return _require(connection, artifact_id)

    def commit(self, artifact_id: int, *, size: int, file_count: int) -> ArtifactRow:
        """Make the version visible: set its number, its aliases and `latest`."""
        now = int(self._clock())
        with self._database.write() as connection:
            artifact = _require(connection, artifact_id)
            if artifact.state == "PENDING":
                committed = connection.execute(
                    """
                    UPDATE artifact SET state = 'COMMITTED', size = ?1, file_count = ?2,
                        updated_at = ?3
                    WHERE id = ?4 AND (SELECT count(*) FROM entry WHERE artifact_id = ?4) = ?2
                    """,
                    (size, file_count, now, artifact_id),
                ).rowcount
                if not committed:
                    raise RequestError("another manifest of this version was sent meanwhile", 409)
                join(connection, artifact.collection_id, artifact_id, now)
                for alias in [*orjson.loads(artifact.aliases), "latest"]:
                    set_alias(connection, artifact.collection_id, artifact_id, alias)
                connection.execute(
                    "UPDATE collection SET updated_at = ? WHERE id = ?",
                    (now, artifact.collection_id),
                )
            return _require(connection, artifact_id)

    def by_id(self, artifact_id: int) -> ArtifactRow | None:
        return self._one("artifact.id = ?", artifact_id)

    def by_client_id(
        self, client_id: str, *, entities: Collection[str] | None = None
    ) -> ArtifactRow | None:
        """The version with an id that its client has chosen, in one of the entities.

        Clients of different users may choose the same one: if they copy the same project.
        """
        owned = owned_by(entities)
        where = f"{_OF_CLIENT} AND {owned.text} ORDER BY artifact.id"
        return self._one(where, client_id, client_id, *owned.parameters)

    def latest(self, collection_id: int) -> ArtifactRow | None:
        return self._one(
            "artifact.collection_id = ? AND artifact.state = 'COMMITTED' ORDER BY version DESC",
            collection_id,
        )

    def digest_algorithm(self, collection_id: int) -> str | None:
        """That of the first version of a collection; None if it has no versions."""
        with self._database.read() as connection:
            row = connection.execute(
                "SELECT digest_algorithm FROM artifact WHERE collection_id = ? ORDER BY id LIMIT 1",
                (collection_id,),
            ).fetchone()
        return str(row["digest_algorithm"]) if row else None

    def members(
        self,
        collection_id: int,
        *,
        state: str | None,
        ascending: bool = False,
        first: int,
        after: str | None = None,
    ) -> ListPage[MembershipRow]:
        """Versions in a collection, newest first unless `ascending`."""
        start = number_of(after)
        sign, way = (">", "ASC") if ascending else ("<", "DESC")
        with self._database.read() as connection:
            rows = connection.execute(
                f"""
                SELECT membership.* FROM membership
                JOIN artifact ON artifact.id = membership.artifact_id
                WHERE membership.collection_id = ? AND (? IS NULL OR state = ?)
                  AND (? IS NULL OR version {sign} ?) ORDER BY version {way} LIMIT ?
                """,  # noqa: S608 - constants
                (collection_id, state, state, start, start, first + 1),
            ).fetchall()
        found = [MembershipRow(*row) for row in rows[:first]]
        return ListPage(found, [str(member.version) for member in found], len(rows) > first)

    def count_members(self, collection_id: int, state: str | None) -> int:
        with self._database.read() as connection:
            (count,) = connection.execute(
                """
                SELECT count(*) FROM membership JOIN artifact ON artifact.id = artifact_id
                WHERE membership.collection_id = ? AND (? IS NULL OR state = ?)
                """,
                (collection_id, state, state),
            ).fetchone()
        return int(count)

    def memberships(self, artifact_id: int) -> list[MembershipRow]:
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT * FROM membership WHERE artifact_id = ? ORDER BY id", (artifact_id,)
            ).fetchall()
        return [MembershipRow(*row) for row in rows]

    def link(
        self, artifact: ArtifactRow, portfolio: CollectionRow, aliases: Sequence[str]
    ) -> MembershipRow:
        """Add the version to another collection, as its latest one."""
        with self._database.write() as connection:
            join(connection, portfolio.id, artifact.id, int(self._clock()))
            for alias in [*aliases, "latest"]:
                set_alias(connection, portfolio.id, artifact.id, alias)
            row = connection.execute(
                "SELECT * FROM membership WHERE collection_id = ? AND artifact_id = ?",
                (portfolio.id, artifact.id),
            ).fetchone()
            if row is None:
                raise RequestError("this version has been deleted", 404)
        return MembershipRow(*row)

    def unlink(self, artifact: ArtifactRow, portfolio: CollectionRow) -> None:
        with self._database.write() as connection:
            connection.execute(
                "DELETE FROM membership WHERE collection_id = ? AND artifact_id = ?",
                (portfolio.id, artifact.id),
            )

    def use(self, run: RunRow, artifact: ArtifactRow, used_as: str | None = None) -> None:
        with self._database.write() as connection:
            _note_use(connection, run.id, artifact.id, "input", used_as)

    def of_run(
        self,
        run_id: int,
        direction: str,
        *,
        entities: Collection[str] | None = None,
        or_linked: bool = False,
        first: int,
        after: str | None = None,
    ) -> ListPage[ArtifactRow]:
        """Versions that a run created (`output`) or used (`input`), in order of creation.

        With `entities`, only those that belong to one of them: a run may use what is not of its own
        project. With `or_linked`, also those that are linked into their collections.
        """
        start = number_of(after) or 0
        condition = owned_by(entities, or_linked=or_linked)
        with self._database.read() as connection:
            rows = connection.execute(
                f"""
                {_ARTIFACT} JOIN artifact_use ON artifact_use.artifact_id = artifact.id
                WHERE artifact_use.run_id = ? AND direction = ? AND state = 'COMMITTED'
                  AND artifact.id > ? AND {condition.text} ORDER BY artifact.id LIMIT ?
                """,
                (run_id, direction, start, *condition.parameters, first + 1),
            ).fetchall()
        found = [ArtifactRow(*row) for row in rows[:first]]
        return ListPage(found, [str(artifact.id) for artifact in found], len(rows) > first)

    def count_of_run(
        self,
        run_id: int,
        direction: str,
        *,
        entities: Collection[str] | None = None,
        or_linked: bool = False,
    ) -> int:
        condition = owned_by(entities, or_linked=or_linked)
        with self._database.read() as connection:
            (count,) = connection.execute(
                f"""
                SELECT count(*) FROM artifact_use JOIN artifact ON artifact.id = artifact_id
                WHERE artifact_use.run_id = ? AND direction = ? AND state = 'COMMITTED'
                  AND {condition.text}
                """,  # noqa: S608 - constants
                (run_id, direction, *condition.parameters),
            ).fetchone()
        return int(count)

    def users_of(self, artifact_id: int) -> list[int]:
        """Row ids of the runs that used the version."""
        with self._database.read() as connection:
            rows = connection.execute(
                """
                SELECT run_id FROM artifact_use WHERE artifact_id = ? AND direction = 'input'
                ORDER BY run_id
                """,
                (artifact_id,),
            ).fetchall()
        return [run_id for (run_id,) in rows]

    def tags(self, artifact_id: int) -> list[Tag]:
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT id, name FROM artifact_tag WHERE artifact_id = ? ORDER BY id",
                (artifact_id,),
            ).fetchall()
        return [Tag(*row) for row in rows]

    def change(
        self,
        artifact: ArtifactRow,
        *,
        description: str | None = None,
        metadata: str | None = None,
        ttl_seconds: int | None = None,
        add_tags: Sequence[str] = (),
        remove_tags: Sequence[str] = (),
    ) -> ArtifactRow:
        with self._database.write() as connection:
            connection.execute(
                """
                UPDATE artifact SET description = ifnull(?, description),
                    metadata = ifnull(?, metadata), ttl_seconds = ifnull(?, ttl_seconds),
                    updated_at = ? WHERE id = ?
                """,
                (description, metadata, ttl_seconds, int(self._clock()), artifact.id),
            )
            connection.executemany(
                "DELETE FROM artifact_tag WHERE artifact_id = ? AND name = ?",
                [(artifact.id, name) for name in remove_tags],
            )
            _tag(connection, artifact.id, add_tags)
            return _require(connection, artifact.id)

    def delete(self, artifact: ArtifactRow, *, with_aliases: bool) -> None:
        """Delete the version; if it has aliases, only `with_aliases`."""
        with self._database.write() as connection:
            aliased = connection.execute(
                """
                SELECT 1 FROM alias JOIN membership ON membership.id = membership_id
                WHERE artifact_id = ?
                """,
                (artifact.id,),
            ).fetchone()
            if aliased and not with_aliases:
                raise RequestError("this artifact has aliases: delete them first, or with it")
            connection.execute("DELETE FROM membership WHERE artifact_id = ?", (artifact.id,))
            connection.execute(
                "UPDATE artifact SET state = 'DELETED', updated_at = ? WHERE id = ?",
                (int(self._clock()), artifact.id),
            )

    def _one(self, where: str, *parameters: object) -> ArtifactRow | None:
        with self._database.read() as connection:
            row = connection.execute(f"{_ARTIFACT} WHERE {where}", parameters).fetchone()
        return ArtifactRow(*row) if row else None


def _announced(
    connection: sqlite3.Connection, collection: CollectionRow, new: NewVersion
) -> int | None:
    """The existing version to use: created before by the same client or by another process of the
    same distributed upload, or with the same content."""
    row = connection.execute(
        f"""
        SELECT id, state FROM artifact
        WHERE client_id = :client AND state <> 'DELETED' AND {_OF_PROJECT}
        UNION ALL SELECT id, state FROM artifact WHERE collection_id = :collection
            AND state = 'PENDING' AND distributed_id = :distributed
        UNION ALL SELECT id, state FROM artifact WHERE collection_id = :collection
            AND state = 'COMMITTED' AND digest = :digest AND :reuse
        ORDER BY state, id DESC LIMIT 1
        """,  # noqa: S608 - a constant
        {
            "client": new.client_id,
            "distributed": new.distributed_id,
            "reuse": new.reuse_same_digest and new.distributed_id is None,
            "collection": collection.id,
            "project": collection.project_id,
            "digest": new.digest,
        },
    ).fetchone()
    return int(row["id"]) if row else None


def _require(connection: sqlite3.Connection, artifact_id: int) -> ArtifactRow:
    row = connection.execute(f"{_ARTIFACT} WHERE artifact.id = ?", (artifact_id,)).fetchone()
    if row is None:
        raise RequestError("this artifact has been deleted")
    return ArtifactRow(*row)


def _tag(connection: sqlite3.Connection, artifact_id: int, names: Sequence[str]) -> None:
    connection.executemany(
        "INSERT OR IGNORE INTO artifact_tag (artifact_id, name) VALUES (?, ?)",
        [(artifact_id, name) for name in names],
    )


def _note_use(
    connection: sqlite3.Connection,
    run_id: int,
    artifact_id: int,
    direction: str,
    used_as: str | None,
) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO artifact_use VALUES (?, ?, ?, ?)",
        (run_id, artifact_id, direction, used_as),
    )
