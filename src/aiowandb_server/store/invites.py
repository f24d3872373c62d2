"""Invitations to entities: pending until a user with the invited name or address accepts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiowandb_server.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiowandb_server.store.database import Database
    from aiowandb_server.store.records import UserRow

_INVITE = "SELECT invite.*, entity.name AS entity FROM invite JOIN entity ON entity.id = entity_id"
_OF_USER = "invited = CASE WHEN is_email THEN :email ELSE :name END AND invited IN (:email, :name)"
# Addresses that do not exist could be invited without end.
_MAX_AN_ENTITY = 1_000


@dataclass(frozen=True, slots=True)
class InviteRow:
    """`invited` is an email address, of a user or not, or else the name of a user."""

    id: int
    entity_id: int
    invited: str
    is_email: bool
    is_admin: bool
    created_at: int
    entity: str


class Invites:
    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock

    def add(
        self, entity_id: int, invited: str, *, is_email: bool, is_admin: bool = False
    ) -> InviteRow:
        """Raises RequestError if there is such an invitation already."""
        with self._database.write() as connection:
            (count,) = connection.execute(
                "SELECT count(*) FROM invite WHERE entity_id = ?", (entity_id,)
            ).fetchone()
            if count >= _MAX_AN_ENTITY:
                raise RequestError(f"there are {count} invitations already: delete some first")
            made = connection.execute(
                """
                INSERT INTO invite (entity_id, invited, is_email, is_admin, created_at)
                VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING RETURNING id
                """,
                (entity_id, invited, is_email, is_admin, int(self._clock())),
            ).fetchone()
            if made is None:
                raise RequestError(f"{invited!r} is invited already", 409)
            row = connection.execute(f"{_INVITE} WHERE invite.id = ?", (made["id"],)).fetchone()
        return InviteRow(*row)

    def of_entity(self, entity_id: int) -> list[InviteRow]:
        with self._database.read() as connection:
            rows = connection.execute(
                f"{_INVITE} WHERE entity_id = ? ORDER BY invite.id", (entity_id,)
            ).fetchall()
        return [InviteRow(*row) for row in rows]

    def of_user(self, user: UserRow, after: int = 0) -> list[InviteRow]:
        """The first thousand of them whose ids are larger than `after`."""
        with self._database.read() as connection:
            rows = connection.execute(
                f"{_INVITE} WHERE {_OF_USER} AND invite.id > :after ORDER BY invite.id LIMIT 1000",
                {"email": user.email, "name": user.username, "after": after},
            ).fetchall()
        return [InviteRow(*row) for row in rows]

    def accept(self, entity_id: int, user: UserRow) -> bool:
        """Make the user a member, if they are invited; all their invitations to it are done."""
        with self._database.write() as connection:
            accepted = connection.execute(
                f"DELETE FROM invite WHERE entity_id = :entity AND {_OF_USER} RETURNING is_admin",  # noqa: S608
                {"entity": entity_id, "email": user.email, "name": user.username},
            ).fetchall()
            if accepted:
                connection.execute(
                    """
                    INSERT INTO member VALUES (?, ?, ?)
                    ON CONFLICT DO UPDATE SET is_admin = max(is_admin, excluded.is_admin)
                    """,
                    (entity_id, user.id, max(is_admin for (is_admin,) in accepted)),
                )
        return bool(accepted)

    def delete(self, entity_id: int, invite_id: int, user: UserRow | None = None) -> bool:
        """Returns whether there was such an invitation; with `user`, only if it was theirs."""
        theirs = f"AND {_OF_USER}" if user else ""
        parameters: dict[str, object] = {"id": invite_id, "entity": entity_id}
        if user:
            parameters |= {"email": user.email, "name": user.username}
        with self._database.write() as connection:
            return (
                connection.execute(
                    f"DELETE FROM invite WHERE id = :id AND entity_id = :entity {theirs}",  # noqa: S608
                    parameters,
                ).rowcount
                > 0
            )
