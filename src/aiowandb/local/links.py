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

    def download(self, path: str) -> str:
        return self._signed("GET", path)

    def upload(self, path: str) -> str:
        return self._signed("PUT", path)

    def allows(self, method: str, path: str, query: Mapping[str, str]) -> bool:
        """True if `query` holds a signature for this method and path that has not expired."""
        expires, signature = query.get("expires", ""), query.get("signature", "")
        if not (expires.isascii() and expires.isdecimal()):
            return False
        # Not only a matter of style: HEAD is what clients ask before they GET in ranges.
        wanted = self._signature("GET" if method == "HEAD" else method, path, expires)
        genuine = hmac.compare_digest(signature.encode(), wanted.encode())
        return genuine and int(expires) >= self.clock()

    def _signed(self, method: str, path: str) -> str:
        expires = str(int(self.clock()) + LIFETIME_S)
        signature = self._signature(method, path, expires)
        return f"{self.base}{quote(path)}?expires={expires}&signature={signature}"

    def _signature(self, method: str, path: str, expires: str) -> str:
        message = "\n".join((method, path, expires)).encode()
        return hmac.new(self.secret, message, hashlib.sha256).hexdigest()
