"""Who is asking: the user behind the credentials of a request."""

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

_USERNAME = re.compile(r"[\w.\-]{1,128}")


class Access:
    """Finds the user of a request.

    `keys` are the user `local`'s too, without being stored. With `open_access` any key is accepted
    and names the user, made on first sight with an entity of that name: for tests and development
    only.
    """

    def __init__(
        self, store: Store, *, keys: Iterable[str] = (), open_access: bool = False
    ) -> None:
        self._store = store
        self._given = [digest_of(key) for key in keys]
        self._open = open_access

    def user(self, authorization: str | None) -> UserRow | None:
        """The user, or None if the header holds no valid key."""
        key = _key(authorization)
        if not key:
            return None
        known = self._store.accounts.user_of_key(key)
        # All of them are compared, whichever it is.
        if sum(hmac.compare_digest(given, digest_of(key)) for given in self._given):
            known = self._store.accounts.user(LOCAL_USER)
        if known is None and self._open and _USERNAME.fullmatch(key):
            return self._store.accounts.ensure_user(key)
        return known

    def keys(self, user: UserRow) -> list[ApiKeyRow]:
        """The keys that log in as this user, among them the name itself under open access."""
        keys = self._store.accounts.keys(user.id)
        if self._open:
            # It is not stored: the same data folder may be served with real keys later.
            keys.insert(0, ApiKeyRow(0, user.username[:6], "open access"))
        return keys

    def may_use(self, user: UserRow, entity: str) -> bool:
        """True if the entity is the user's own or a team's, or the user an administrator."""
        return (
            user.is_admin or entity == user.entity or entity in self._store.accounts.teams(user.id)
        )


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
