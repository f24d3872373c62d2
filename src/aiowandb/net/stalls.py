"""Which hosts are silent to everybody: one transfer that stalls may be the fault of its file."""

from __future__ import annotations

from urllib.parse import urlsplit

import httpx

from aiowandb.errors import StalledError, TimeoutError

# So many files that have been waited for in vain, with nothing of any other file in between.
_SEVERAL = 2


class Stalls:
    """Notes of each host how many files have timed out since it was last heard."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._silent: dict[str, set[str]] = {}

    def heard(self, host: str) -> None:
        """The host has sent something of a file, or its answer to a request."""
        self._silent.pop(host, None)

    def timed_out(self, url: str, error: TimeoutError) -> None:
        """A file has been waited for in vain. An error if the same happens to others."""
        host = _host(url, error)
        silent = self._silent.setdefault(host, set())
        silent.add(url.partition("?")[0])
        if len(silent) >= _SEVERAL:
            raise StalledError(
                f"{host} has sent nothing of {len(silent)} files for {self._timeout:g} s: it may be"
                " down, or out of reach from here. Try again when it answers.",
                error,
                operation=error.operation,
            ) from error


def _host(url: str, error: TimeoutError) -> str:
    """Who was silent: where the URL redirects to another host, that one."""
    if isinstance(error.exc, httpx.TimeoutException):
        return error.exc.request.url.netloc.decode()
    return urlsplit(url).netloc.rpartition("@")[2]
