"""Distinguishes a host that sends nothing at all from a single file that cannot be fetched."""

from __future__ import annotations

from urllib.parse import urlsplit

import httpx

from aiowandb.errors import StalledError, TimeoutError

# This many files timed out in a row, and nothing was received of any other file in between.
_SEVERAL = 2


class Stalls:
    """For each host, the files that have timed out since it last sent anything."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._silent: dict[str, set[str]] = {}

    def received(self, host: str) -> None:
        """The host has sent a part of a file, or a response."""
        self._silent.pop(host, None)

    def timed_out(self, url: str, error: TimeoutError) -> None:
        """A file timed out. Raises if others of the same host did as well."""
        host = _host(url, error)
        silent = self._silent.setdefault(host, set())
        silent.add(url.partition("?")[0])
        if len(silent) >= _SEVERAL:
            raise StalledError(
                f"{host} has sent nothing of {len(silent)} files for {self._timeout:g} s: it may be"
                " down, or not reachable from here. Try again later.",
                error,
                operation=error.operation,
            ) from error


def _host(url: str, error: TimeoutError) -> str:
    """The host that timed out: the one that the URL redirects to, if it does."""
    if isinstance(error.exc, httpx.TimeoutException):
        return error.exc.request.url.netloc.decode()
    return urlsplit(url).netloc.rpartition("@")[2]
