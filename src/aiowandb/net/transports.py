"""The HTTP client under a session: its timeouts, proxies and certificates."""

from __future__ import annotations

import os
import ssl
from functools import cache
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
    """A client as in the settings. A custom transport needs no proxy."""
    limits = httpx.Limits(max_connections=max_connections)
    proxies = {} if transport else settings.proxies
    verify = settings.verify if transport else verification(settings.verify)
    return httpx.AsyncClient(
        auth=auth,
        # Cookies are not needed, and those of one port would be sent to all ports of the host.
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        # What can be decompressed within bounds, see `bodies`.
        headers={"User-Agent": "aiowandb", "Accept-Encoding": "gzip"},
        timeout=httpx.Timeout(settings.http_timeout, connect=10.0, pool=None),
        limits=limits,
        verify=verify,
        transport=transport,
        mounts={
            scheme: httpx.AsyncHTTPTransport(proxy=proxy, verify=verify, limits=limits)
            for scheme, proxy in proxies.items()
        },
    )


def verification(verify: ssl.SSLContext | bool) -> ssl.SSLContext | bool:
    """What httpx is to verify with: it would read the usual authorities for each client anew."""
    if verify is not True:
        return verify
    return _usual_authorities(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


@cache
def _usual_authorities(*_environment: str | None) -> ssl.SSLContext:
    """The context that httpx makes from this environment, shared by all clients of the process.

    To read a few hundred certificates takes some 25 ms, in which the event loop stands still.
    """
    return httpx.create_ssl_context()
