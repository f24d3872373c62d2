"""Authentication: the user whose credentials a request has."""

from __future__ import annotations

import base64
import hmac
import re
from typing import TYPE_CHECKING

from aiowandb_server.store.accounts import LOCAL_USER, digest_of
from aiowandb_server.store.records import ApiKeyRow

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiowandb_server.store.records import UserRow
    from aiowandb_server.store.store import Store

_USERNAME = re.compile(r"(?!\.*\Z)[\w.\-]{1,128}")


class Access:
    """Finds the user of a request.

    `keys` log in as the user `local` too, without being stored. With `open_access` any key is
    accepted as the name of a user, who is created at the first request together with an entity of
    that name: for tests and development only.
    """

    def __init__(
        self, store: Store, *, keys: Iterable[str] = (), open_access: bool = False
    ) -> None:
        self._store = store
        self._given = [digest_of(key) for key in keys]
        self._open = open_access

    def user(self, authorization: str | None) -> UserRow | None:
        """The user, or None if the header has no valid key."""
        key = _key(authorization)
        if not key:
            return None
        known = self._store.accounts.user_of_key(key)
        # Compare all of them, so that the time does not depend on the key.
        if sum(hmac.compare_digest(given, digest_of(key)) for given in self._given):
            known = self._store.accounts.user(LOCAL_USER)
        if known is None and self._open and _USERNAME.fullmatch(key):
            return self._store.accounts.ensure_user(key)
        return known

    def keys(self, user: UserRow) -> list[ApiKeyRow]:
        """The keys that log in as this user; with open access, also the name itself."""
        keys = self._store.accounts.keys(user.id)
        if self._open:
            # Not stored: the same data folder may be served without open access later.
            keys.insert(0, ApiKeyRow(0, user.username[:6], "open access"))
        return keys

    def may_use(self, user: UserRow, entity: str) -> bool:
        """Whether the user owns the entity, is a member of the team, or is an administrator."""
        if entity == user.entity:
            return True
        allowed = self.entities(user)
        return allowed is None or entity in allowed

    def entities(self, user: UserRow) -> frozenset[str] | None:
        """What the user may use; None for an administrator, who may use everything."""
        if user.is_admin:
            return None
        return frozenset((user.entity, *self._store.accounts.teams(user.id)))


def _key(authorization: str | None) -> str | None:
    """The key in `Basic base64(name:KEY)` or `Bearer KEY`."""
    scheme, _, credentials = (authorization or "").strip().partition(" ")
    if scheme.lower() == "bearer":
        return credentials.strip()
    if scheme.lower() != "basic":
        return None
    try:
        pair = base64.b64decode(credentials.strip(), validate=True).decode()
    except ValueError:
        return None
    return pair.partition(":")[2]
