"""Sessions of browsers: a cookie stands for an API key, which is not sent back to the browser.

The cookie is valid only for `/graphql` and the pages, and only with the session's CSRF token.
Browsers send cookies to every port of a host, and take them from there: the token, which the page
that logs in stores for its own origin, is what neighbours neither get nor replace. A session ends
with its key, with the server, or after a week.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import Counter
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.responses import Response
    from starlette.types import Scope

LIFETIME_S = 7 * 24 * 3600
CSRF_HEADER = b"x-csrf-token"
# Browsers that never log out leave their sessions behind. For a new one, the oldest is dropped of
# whoever has the most: nobody can log out others by logging in again and again.
_MAX_SESSIONS = 1000


@dataclass(frozen=True, slots=True)
class BrowserSession:
    user_id: int
    key: str
    csrf: str
    expires: float

    @property
    def authorization(self) -> str:
        return f"Bearer {self.key}"


class Sessions:
    """The sessions of one server."""

    def __init__(self, secret: bytes, clock: Callable[[], float]) -> None:
        # Servers at other ports of a host have the same cookies, and data folders of their own.
        self.cookie_name = "aiowandb_" + hashlib.sha256(b"cookie" + secret).hexdigest()[:12]
        self._clock = clock
        self._sessions: dict[bytes, BrowserSession] = {}

    def start(self, user_id: int, key: str) -> tuple[str, str]:
        """The cookie and the CSRF token of a new session, with a valid key of this user."""
        token = secrets.token_urlsafe(32)
        csrf, expires = secrets.token_urlsafe(32), self._clock() + LIFETIME_S
        session = BrowserSession(user_id, key, csrf, expires)
        while len(self._sessions) >= _MAX_SESSIONS:
            del self._sessions[self._oldest_of_most()]
        self._sessions[_digest(token)] = session
        return token, csrf

    def set_cookie(self, response: Response, token: str, *, secure: bool) -> None:
        response.set_cookie(
            self.cookie_name,
            token,
            max_age=LIFETIME_S,
            httponly=True,
            samesite="strict",
            secure=secure,
        )

    def log_out(self, response: Response, scope: Scope) -> None:
        if token := self._token(scope):
            self._sessions.pop(_digest(token), None)
        response.delete_cookie(self.cookie_name, httponly=True, samesite="strict")

    def find(self, scope: Scope) -> BrowserSession | None:
        """The session of the request's cookie and CSRF token."""
        token = self._token(scope)
        session = self._sessions.get(_digest(token)) if token else None
        if session is None or session.expires < self._clock():
            return None
        given = b"".join(value for name, value in scope["headers"] if name == CSRF_HEADER)
        return session if hmac.compare_digest(given, session.csrf.encode()) else None

    def add_key(self, scope: Scope) -> None:
        """Add the key of the request's session to its headers, unless they have one."""
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        if any(name == b"authorization" for name, _ in headers):
            return
        if session := self.find(scope):
            scope["headers"] = [*headers, (b"authorization", session.authorization.encode())]

    def _oldest_of_most(self) -> bytes:
        """The oldest session of the user who has the most."""
        counts = Counter(session.user_id for session in self._sessions.values())
        most = max(counts, key=counts.__getitem__)
        return next(key for key, session in self._sessions.items() if session.user_id == most)

    def _token(self, scope: Scope) -> str | None:
        jar = SimpleCookie()
        for name, value in scope["headers"]:
            if name == b"cookie":
                try:
                    jar.load(value.decode("latin-1"))
                except CookieError:
                    continue
        found = jar.get(self.cookie_name)
        return found.value if found else None


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
