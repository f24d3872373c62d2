"""Access tokens that W&B issues for an identity token, kept in a file until they expire.

The file is that of W&B's own tools: `{"credentials": {BASE_URL: {"access_token",
"expires_at"}}}`, with times in UTC.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import msgspec
import orjson

from aiowandb.atomic import atomic_file
from aiowandb.concurrency.threads import run_sync
from aiowandb.config.credentials import IdentityToken
from aiowandb.config.text_files import text_in
from aiowandb.errors import ServerError, UsageError

_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_TIME = "%Y-%m-%d %H:%M:%S"
# A token is renewed this long before it expires: enough for a request with its retries.
_RENEWAL_MARGIN = timedelta(minutes=5)
_TIMEOUT = httpx.Timeout(10.0).as_dict()
log = logging.getLogger("aiowandb.net")


class _StoredToken(msgspec.Struct):
    value: str
    expires_at: datetime

    def __repr__(self) -> str:
        return f"<{type(self).__name__} *** until {self.expires_at}>"


class _Grant(msgspec.Struct):
    access_token: str
    expires_in: float

    def __repr__(self) -> str:
        return f"<{type(self).__name__} *** for {self.expires_in} s>"


class AccessTokens:
    """The current access token, and the request for the next one."""

    def __init__(
        self,
        base_url: str,
        identity: IdentityToken,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._base_url = base_url
        self._identity = identity
        self._clock = clock
        self._token: _StoredToken | None = None
        self._untried: str | None = None
        self._refused: str | None = None
        # The identity token as it was sent last.
        self.assertion: str | None = None

    async def current(self) -> str | None:
        """The token to use, or None if a new one is needed."""
        if self._token is None:
            self._token = await self._stored()
            if self._token and self._token.value == self._refused:
                self._token = None
        if self._token and self._token.expires_at - self._clock() > _RENEWAL_MARGIN:
            return self._token.value
        return None

    async def exchange(self) -> httpx.Request:
        """The request for a new token. The identity token may have been renewed meanwhile."""
        try:
            assertion = (await run_sync(text_in, self._identity.file, "utf-8")).strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"Cannot read the identity token: {error}") from error
        self.assertion = assertion
        form = {"grant_type": _GRANT, "assertion": assertion}
        url = f"{self._base_url}/oidc/token"
        return httpx.Request("POST", url, data=form, extensions={"timeout": _TIMEOUT})

    async def store(self, answer: bytes) -> None:
        """Take the token out of W&B's response, and save it for the next process."""
        try:
            grant = msgspec.json.decode(answer, type=_Grant)
            expires_at = self._clock() + timedelta(seconds=grant.expires_in)
        except (msgspec.MsgspecError, OverflowError) as error:
            raise ServerError(f"Token exchange: the response has no token ({error}).") from None
        if expires_at - self._clock() <= _RENEWAL_MARGIN:
            raise ServerError("Token exchange: the access token expires too soon.")
        self._token = _StoredToken(grant.access_token, expires_at)
        self._untried = grant.access_token
        try:
            await self._write(self._token)
        except OSError as error:
            log.info("The access token could not be saved: %s", error)

    def accepted(self, token: str) -> None:
        """W&B accepted the token."""
        if token == self._untried:
            self._untried = None

    def refused(self, token: str) -> bool:
        """Forget the token. Returns whether another one is worth a try."""
        self._refused = token
        if self._token and self._token.value == token:
            self._token = None
        return token != self._untried

    async def _stored(self) -> _StoredToken | None:
        try:
            entry = (await self._read())[self._base_url]
            expires_at = datetime.strptime(entry["expires_at"], _TIME).replace(tzinfo=UTC)
            return _StoredToken(str(entry["access_token"]), expires_at)
        except (KeyError, TypeError, ValueError):
            return None

    async def _write(self, token: _StoredToken) -> None:
        entry = {"access_token": token.value, "expires_at": f"{token.expires_at:{_TIME}}"}
        tokens = await self._read() | {self._base_url: entry}
        async with atomic_file(self._identity.cache, mode=0o600) as file:
            file.write(orjson.dumps({"credentials": tokens}, option=orjson.OPT_INDENT_2))

    async def _read(self) -> dict[str, Any]:
        """The tokens in the file by base URL; empty if there is no such file."""
        try:
            text = await run_sync(text_in, self._identity.cache, "utf-8")
            return dict(orjson.loads(text)["credentials"])
        except (OSError, ValueError, KeyError, TypeError):
            return {}
