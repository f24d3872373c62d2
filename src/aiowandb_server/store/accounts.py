"""Users, their API keys, and the entities (their own and teams) that they belong to."""

from __future__ import annotations

import hashlib
import itertools
import secrets
from typing import TYPE_CHECKING

from aiowandb_server.errors import RequestError
from aiowandb_server.store.records import ApiKeyRow, Entity, MemberRow, UserRow

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from aiowandb_server.store.database import Database

LOCAL_USER = "local"
_USER = """
    SELECT user.id, username, user.name, email, is_admin, entity.name AS entity, user.created_at,
           ifnull(chosen.name, entity.name) AS default_entity
    FROM user JOIN entity ON entity.id = user.entity_id
              LEFT JOIN default_entity ON default_entity.user_id = user.id
              LEFT JOIN entity AS chosen ON chosen.id = default_entity.entity_id
"""
_ENTITY = "SELECT id, name, is_team, created_at FROM entity"


class Accounts:
    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock

    def ensure_user(
        self, username: str, *, is_admin: bool = False, email: str | None = None
    ) -> UserRow:
        """The user of that name, created if necessary together with an entity of their own.

        The entity has the name of the user, unless other users or a team already use it.
        """
        if known := self.user(username):
            return known
        with self._database.write(repeatable=True) as connection:
            now = int(self._clock())
            entity_id = _own_entity(connection, username, now)
            connection.execute(
                """
                INSERT INTO user (username, name, email, is_admin, entity_id, created_at)
                VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING
                """,
                (username, username, email or f"{username}@localhost", is_admin, entity_id, now),
            )
            row = connection.execute(f"{_USER} WHERE username = ?", (username,)).fetchone()
            connection.execute(
                "INSERT OR IGNORE INTO member VALUES (?, ?, 1)", (entity_id, row["id"])
            )
        return _user(row)

    def user(self, username: str) -> UserRow | None:
        with self._database.read() as connection:
            row = connection.execute(f"{_USER} WHERE username = ?", (username,)).fetchone()
        return _user(row) if row else None

    def user_by_id(self, user_id: int) -> UserRow | None:
        with self._database.read() as connection:
            row = connection.execute(f"{_USER} WHERE user.id = ?", (user_id,)).fetchone()
        return _user(row) if row else None

    def set_default_entity(self, user_id: int, entity_id: int) -> None:
        with self._database.write() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO default_entity VALUES (?, ?)", (user_id, entity_id)
            )

    def search_users(self, query: str) -> list[UserRow]:
        """Users whose name or email address is `query`."""
        with self._database.read() as connection:
            rows = connection.execute(
                f"{_USER} WHERE ? IN (username, email) ORDER BY user.id", (query,)
            ).fetchall()
        return [_user(row) for row in rows]

    def ensure_entity(self, name: str, *, is_team: bool = False) -> Entity:
        with self._database.write(repeatable=True) as connection:
            entity_id = _ensure_entity(connection, name, int(self._clock()), is_team=is_team)
            row = connection.execute(f"{_ENTITY} WHERE id = ?", (entity_id,)).fetchone()
        return _entity(row)

    def create_team(self, name: str, leader_id: int) -> Entity:
        """The new team. Raises RequestError if the name is in use: in one transaction, so that
        nobody becomes a leader of what somebody else has just made."""
        with self._database.write() as connection:
            row = connection.execute(
                """
                INSERT INTO entity (name, is_team, created_at) VALUES (?, 1, ?)
                ON CONFLICT DO NOTHING RETURNING id, name, is_team, created_at
                """,
                (name, int(self._clock())),
            ).fetchone()
            if row is None:
                raise RequestError(f"the entity {name!r} already exists", 409)
            connection.execute("INSERT INTO member VALUES (?, ?, 1)", (row["id"], leader_id))
        return _entity(row)

    def entity(self, name: str) -> Entity | None:
        with self._database.read() as connection:
            row = connection.execute(f"{_ENTITY} WHERE name = ?", (name,)).fetchone()
        return _entity(row) if row else None

    def teams(self, user_id: int) -> list[str]:
        """Names of the entities that the user is a member of, their own one first."""
        with self._database.read() as connection:
            rows = connection.execute(
                """
                SELECT name FROM entity JOIN member ON member.entity_id = entity.id
                WHERE user_id = ? ORDER BY is_team, name
                """,
                (user_id,),
            ).fetchall()
        return [name for (name,) in rows]

    def members(self, entity_id: int) -> list[MemberRow]:
        with self._database.read() as connection:
            rows = connection.execute(
                """
                SELECT user.id, username, user.name, email, user.is_admin, own.name AS entity,
                       user.created_at, member.is_admin AS leads,
                       ifnull(chosen.name, own.name) AS default_entity
                FROM member JOIN user ON user.id = member.user_id
                            JOIN entity AS own ON own.id = user.entity_id
                            LEFT JOIN default_entity ON default_entity.user_id = user.id
              LEFT JOIN entity AS chosen ON chosen.id = default_entity.entity_id
                WHERE member.entity_id = ? ORDER BY user.id
                """,
                (entity_id,),
            ).fetchall()
        return [MemberRow(_user(row), bool(row["leads"])) for row in rows]

    def add_member(self, entity_id: int, user_id: int, *, is_admin: bool = False) -> None:
        with self._database.write() as connection:
            connection.execute(
                """
                INSERT INTO member VALUES (?, ?, ?)
                ON CONFLICT DO UPDATE SET is_admin = excluded.is_admin
                """,
                (entity_id, user_id, is_admin),
            )

    def remove_member(self, entity_id: int, user_id: int) -> bool:
        """Raises RequestError if nobody would lead the entity any more: without members, it would
        belong to the next user of its name."""
        with self._database.write() as connection:
            leaders = connection.execute(
                "SELECT user_id FROM member WHERE entity_id = ? AND is_admin", (entity_id,)
            ).fetchall()
            if [tuple(leader) for leader in leaders] == [(user_id,)]:
                raise RequestError("a team keeps its last administrator: invite another one first")
            cursor = connection.execute(
                "DELETE FROM member WHERE entity_id = ? AND user_id = ?", (entity_id, user_id)
            )
            # Their runs that name no entity would be refused.
            connection.execute(
                "DELETE FROM default_entity WHERE entity_id = ? AND user_id = ?",
                (entity_id, user_id),
            )
        return cursor.rowcount > 0

    def add_key(self, user_id: int, key: str | None = None, description: str | None = None) -> str:
        """Add an API key of this user, a new one unless `key` is given, and return it."""
        key = key or secrets.token_hex(20)
        with self._database.write() as connection:
            connection.execute(
                """
                INSERT INTO api_key (user_id, digest, hint, description, created_at)
                VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING
                """,
                (user_id, digest_of(key), key[:6], description, int(self._clock())),
            )
        return key

    def keys(self, user_id: int) -> list[ApiKeyRow]:
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT id, hint, description FROM api_key WHERE user_id = ? ORDER BY id",
                (user_id,),
            ).fetchall()
        return [ApiKeyRow(*row) for row in rows]

    def find_key(self, key: str) -> ApiKeyRow | None:
        with self._database.read() as connection:
            row = connection.execute(
                "SELECT id, hint, description FROM api_key WHERE digest = ?", (digest_of(key),)
            ).fetchone()
        return ApiKeyRow(*row) if row else None

    def delete_key(self, user_id: int, key_id: int) -> bool:
        with self._database.write() as connection:
            cursor = connection.execute(
                "DELETE FROM api_key WHERE id = ? AND user_id = ?", (key_id, user_id)
            )
        return cursor.rowcount > 0

    def user_of_key(self, key: str) -> UserRow | None:
        """The user with this API key.

        It is looked up by its hash: how long that takes says nothing about similar keys, and does
        not grow with the keys of others.
        """
        with self._database.read() as connection:
            row = connection.execute(
                "SELECT user_id FROM api_key WHERE digest = ?", (digest_of(key),)
            ).fetchone()
        return self.user_by_id(row["user_id"]) if row else None


def _ensure_entity(
    connection: sqlite3.Connection, name: str, now: int, *, is_team: bool = False
) -> int:
    connection.execute(
        "INSERT INTO entity (name, is_team, created_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        (name, is_team, now),
    )
    (entity_id,) = connection.execute("SELECT id FROM entity WHERE name = ?", (name,)).fetchone()
    return int(entity_id)


def _own_entity(connection: sqlite3.Connection, username: str, now: int) -> int:
    """An entity that no one else uses: `ann`, or `ann-2` if `ann` is a team with members."""
    for number in itertools.count(1):
        name = username if number == 1 else f"{username}-{number}"
        entity_id = _ensure_entity(connection, name, now)
        taken = connection.execute(
            """
            SELECT 1 FROM member WHERE entity_id = :entity
            UNION SELECT 1 FROM user WHERE entity_id = :entity
            """,
            {"entity": entity_id},
        ).fetchone()
        if not taken:
            # An administrator may have created runs there before the user was created.
            connection.execute("UPDATE entity SET is_team = 0 WHERE id = ?", (entity_id,))
            return entity_id
    raise AssertionError  # the loop is endless


def digest_of(key: str) -> bytes:
    """The hash of a key, which is stored in its place."""
    return hashlib.sha256(key.encode()).digest()


def _user(row: sqlite3.Row) -> UserRow:
    return UserRow(
        row["id"],
        row["username"],
        row["name"],
        row["email"],
        bool(row["is_admin"]),
        row["entity"],
        row["created_at"],
        row["default_entity"],
    )


def _entity(row: sqlite3.Row) -> Entity:
    return Entity(row["id"], row["name"], bool(row["is_team"]), row["created_at"])
