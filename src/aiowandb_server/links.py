"""Links that carry their own authorisation: signed, for one method and path, for a limited time.

The SDK fetches and uploads files without its API key, as it does with the object storage of the
cloud; whoever holds a link may use it until it expires.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# A large upload is queued behind others and retried; half an hour would be tight.
LIFETIME_S = 3600


@dataclass(frozen=True, slots=True)
class Links:
    """Signs and checks links below `base`, an URL without a trailing slash."""

    secret: bytes
    base: str
    clock: Callable[[], float]

    def download(self, path: str, row_id: int | None = None) -> str:
        """`row_id` binds the link to what has that id: it opens nothing else of the same path."""
        return self._signed("GET", path, row_id)

    def upload(self, path: str, row_id: int | None = None) -> str:
        return self._signed("PUT", path, row_id)

    def allows(self, method: str, path: str, query: Mapping[str, str]) -> bool:
        """True if `query` holds a signature for this method and path that has not expired."""
        expires, signature = query.get("expires", ""), query.get("signature", "")
        row_id = query.get("id", "")
        if not (expires.isascii() and expires.isdecimal()):
            return False
        # Not only a matter of style: HEAD is what clients ask before they GET in ranges.
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
