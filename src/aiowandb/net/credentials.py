"""The API key on its way: to the host it belongs to, and to no other."""

from __future__ import annotations

import base64
from collections.abc import Generator

import httpx

from aiowandb.config import ApiKey


class Credentials(httpx.Auth):
    """Signs requests under the base URL; every other URL carries its own permission."""

    def __init__(self, base_url: str, key: ApiKey | None) -> None:
        self._base = httpx.URL(base_url)
        self._key = key

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        if self._key and self._is_ours(request.url):
            token = base64.b64encode(f"api:{self._key.reveal()}".encode()).decode()
            request.headers["Authorization"] = f"Basic {token}"
        yield request

    def _is_ours(self, url: httpx.URL) -> bool:
        base = self._base
        same_origin = (url.scheme, url.host, url.port) == (base.scheme, base.host, base.port)
        return same_origin and url.path.startswith(base.path.rstrip("/") + "/")

    def __repr__(self) -> str:
        return f"Credentials({self._base}, {self._key!r})"
