"""Protects the embedded W&B from other web pages.

A browser sends requests for any page that it shows. For pages of other sites it sends their
`Origin`, and these may not write. With DNS rebinding, a site can point its own host name at this
machine and read the responses; so a server answers only to names that it knows to be its own. A
number cannot be rebound: a page at a numeric address is a page of this server.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import Scope

_ALL_ADDRESSES = ("0.0.0.0", "::")  # noqa: S104 - compared with, not bound to
# Links begin with it: `127.0.0.1:80@evil.test` would lead them to another server.
_HOST = re.compile(r"([a-z0-9_.\-]*|\[[0-9a-f:.]+\])(:[0-9]*)?")
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class OriginRules:
    """Refuses requests from web pages of other sites.

    `allowed_hosts` are the host names of the server, besides the loopback ones. Among them,
    `0.0.0.0` or `::` means every numeric address, and the name of this machine. None allows every
    name, until the server listens on an address.
    """

    def __init__(self, allowed_hosts: Iterable[str] | None = None) -> None:
        self._hosts: set[str] | None = None
        self._any_address = False
        if allowed_hosts is not None:
            self._allow(allowed_hosts)

    def listen_on(self, host: str) -> None:
        """Allow only names of this address, if no names were given."""
        if self._hosts is None:
            self._allow([host])

    def _allow(self, hosts: Iterable[str]) -> None:
        self._hosts = set(map(_plain, hosts))
        self._any_address = not self._hosts.isdisjoint(_ALL_ADDRESSES)
        if self._any_address:
            name = _plain(socket.gethostname())
            self._hosts |= {name, name.partition(".")[0], f"{name}.local"}

    def refusal(self, scope: Scope) -> str | None:
        """Why the request is refused, or None if it is not."""
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        hosts = [_text(value) for name, value in headers if name == b"host"]
        for host in hosts:
            if not _HOST.fullmatch(host):
                return f"{host[:80]!r} is not the name of a host and a port"
            if not self._is_allowed(_name(host)):
                return (
                    f"this server does not answer to the name {_name(host)!r}. "
                    "Allow it with `aiowandb serve --allow-host NAME`."
                )
        if scope["method"] in _SAFE_METHODS:
            return None
        for name, value in headers:
            if name == b"origin" and _text(value).partition("://")[2] not in hosts:
                return f"pages of {_text(value)!r} may not write to this server"
            if name == b"sec-fetch-site" and _text(value) in ("cross-site", "same-site"):
                return "pages of other sites may not write to this server"
        return None

    def _is_allowed(self, name: str) -> bool:
        if self._hosts is None or name in self._hosts or is_loopback(name):
            return True
        return self._any_address and _is_address(name)


def is_loopback(host: str) -> bool:
    """Whether the name or address always refers to this machine."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _name(host: str) -> str:
    """The host without its port."""
    if host.startswith("["):
        return _plain(host.partition("]")[0])
    return _plain(host.partition(":")[0])


def _plain(name: str) -> str:
    return name.lower().strip("[]").removesuffix(".")


def _text(value: bytes) -> str:
    return value.decode("latin-1").strip().lower()
