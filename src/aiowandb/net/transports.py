"""The HTTP client under a session: its time-outs, proxies and certificates."""

from __future__ import annotations

from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx

from aiowandb.config.settings import Settings


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
        # Nobody needs cookies, and those of one port would go to all ports of the host.
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        # What can be unpacked within bounds, see `bodies`.
        headers={"User-Agent": "aiowandb", "Accept-Encoding": "gzip"},
        timeout=httpx.Timeout(settings.http_timeout, connect=10.0, pool=None),
        limits=limits,
        verify=settings.verify,
        transport=transport,
        mounts={
            scheme: httpx.AsyncHTTPTransport(proxy=proxy, verify=settings.verify, limits=limits)
            for scheme, proxy in proxies.items()
        },
    )
