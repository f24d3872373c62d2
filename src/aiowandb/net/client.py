"""The HTTP client under a session: its time-outs, proxies and certificates."""

from __future__ import annotations

import httpx

from aiowandb.config import Settings


def open_client(
    settings: Settings,
    *,
    auth: httpx.Auth,
    max_connections: int,
    transport: httpx.AsyncBaseTransport | None,
) -> httpx.AsyncClient:
    """A client as the settings want it. A transport of one's own needs no proxy."""
    limits = httpx.Limits(max_connections=max_connections)
    proxies = {} if transport else settings.proxies
    return httpx.AsyncClient(
        auth=auth,
        headers={"User-Agent": "aiowandb"},
        timeout=httpx.Timeout(settings.http_timeout, connect=10.0, pool=None),
        limits=limits,
        verify=settings.verify,
        transport=transport,
        mounts={
            scheme: httpx.AsyncHTTPTransport(proxy=proxy, verify=settings.verify, limits=limits)
            for scheme, proxy in proxies.items()
        },
    )
