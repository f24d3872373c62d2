"""Signed links: each allows one method and path for a limited time.

The SDK downloads and uploads files without its API key, as it does with the object storage of the
cloud; whoever has a link can use it until it expires.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# A large upload may have to queue and to be retried: half an hour would be too short.
LIFETIME_S = 3600


@dataclass(frozen=True, slots=True)
class Links:
    """Signs and checks links below `base`, a URL without a trailing slash."""

    secret: bytes
    base: str
    clock: Callable[[], float]

    def download(self, path: str, row_id: int | None = None) -> str:
        """With `row_id`, the link is valid only for this row, not for a later one of its path."""
        return self._signed("GET", path, row_id)

    def upload(self, path: str, row_id: int | None = None) -> str:
        return self._signed("PUT", path, row_id)

    def allows(self, method: str, path: str, query: Mapping[str, str]) -> bool:
        """Whether `query` has a valid signature for this method and path."""
        expires, signature = query.get("expires", ""), query.get("signature", "")
        row_id = query.get("id", "")
        # Only numbers, so that what is signed has one meaning: there may be line breaks in a path.
        if not all(number.isascii() and number.isdecimal() for number in (expires, row_id or "0")):
            return False
        # Clients send HEAD before they GET ranges.
        wanted = self._signature("GET" if method == "HEAD" else method, path, row_id, expires)
        genuine = hmac.compare_digest(signature.encode(), wanted.encode())
        return genuine and int(expires) >= self.clock()

    def _signed(self, method: str, path: str, row_id: int | None) -> str:
        expires = str(int(self.clock()) + LIFETIME_S)
        bound = "" if row_id is None else str(row_id)
        signature = self._signature(method, path, bound, expires)
        place = f"{self.base}{quote(path)}?expires={expires}&signature={signature}"
        return f"{place}&id={bound}" if bound else place

    def _signature(self, method: str, path: str, row_id: str, expires: str) -> str:
        message = "\n".join((method, path, row_id, expires)).encode()
        return hmac.new(self.secret, message, hashlib.sha256).hexdigest()
