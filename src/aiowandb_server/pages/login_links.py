"""Links that log a browser in, once each.

A link's token is a file in the data folder, named after the token's hash, until it is used. So
other processes than the server can create links, and a link works once even after a restart.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from typing import TYPE_CHECKING
from urllib.parse import quote

from aiowandb_server.store.disk import complete_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LIFETIME_S = 24 * 3600
_TOKEN = re.compile(r"[\w-]{20,64}", re.ASCII)
_FOLDER = "login-links"
_ADDRESS = "server-address"


class LoginLinks:
    """The unused links of one data folder."""

    def __init__(self, folder: Path, clock: Callable[[], float]) -> None:
        self._folder = folder / _FOLDER
        self._address = folder / _ADDRESS
        self._clock = clock

    def create(self, base_url: str, path: str = "/") -> str:
        """A link to the page at `path` that logs in the first browser that opens it."""
        self._remove_expired()
        token = secrets.token_urlsafe(24)
        self._folder.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(self._file(token), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(str(int(self._clock()) + LIFETIME_S))
        return f"{base_url}{quote(path)}?token={token}"

    def redeem(self, token: str) -> bool:
        """Use the token; whether it was valid, not expired and unused."""
        if not _TOKEN.fullmatch(token):
            return False
        file = self._file(token)
        try:
            expires = int(file.read_text(encoding="ascii"))
            # If two come at once, one of them fails here.
            file.unlink()
        except (FileNotFoundError, ValueError):
            return False
        return expires >= self._clock()

    def announce(self, base_url: str) -> None:
        """Record the URL at which the data folder is served, for other processes."""
        with complete_file(self._address) as temporary:
            temporary.write_text(base_url + "\n", encoding="utf-8")

    def withdraw(self, base_url: str) -> None:
        """Undo `announce`, unless another server has announced itself meanwhile."""
        if self.address() == base_url:
            self._address.unlink(missing_ok=True)

    def address(self) -> str | None:
        """The URL at which the data folder is served, if a server has announced it."""
        try:
            return self._address.read_text(encoding="utf-8").strip() or None
        except FileNotFoundError:
            return None

    def _remove_expired(self) -> None:
        if not self._folder.is_dir():
            return
        now = self._clock()
        for file in self._folder.iterdir():
            try:
                if int(file.read_text(encoding="ascii")) < now:
                    file.unlink(missing_ok=True)
            except (FileNotFoundError, ValueError):
                continue  # being used or written right now

    def _file(self, token: str) -> Path:
        return self._folder / hashlib.sha256(token.encode()).hexdigest()
