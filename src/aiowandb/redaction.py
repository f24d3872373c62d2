"""Removes users, keys and signatures from URLs that are shown.

Anyone with a signed link can get its file, and the URL of an object store may contain its key.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar
from urllib.parse import unquote_plus, urlsplit

E = TypeVar("E", bound=BaseException)
_HIDDEN = "***"
# Shorter values, like that of `scheme=https`, may occur in any text.
_SHORTEST_SECRET = 6


class Link:
    """A link, which may be signed. Its repr has no signature: error reports show variables.

    Not a string, which some of these reports show as it is.
    """

    __slots__ = ("_url",)

    def __init__(self, url: str) -> None:
        self._url = url

    def reveal(self) -> str:
        """The URL itself: only for the request, and not for a variable."""
        return self._url

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Link) and self._url == other._url

    def __hash__(self) -> int:
        return hash(self._url)

    def __str__(self) -> str:
        return redacted(self._url)

    def __repr__(self) -> str:
        return f"Link({redacted(self._url)!r})"


class WithLinks:
    """A mixin for structs with links, whose repr shows the links without signatures."""

    __slots__ = ()

    def __repr__(self) -> str:
        names: tuple[str, ...] = getattr(self, "__struct_fields__", ())
        shown = [f"{name}={_shown(getattr(self, name))}" for name in names]
        return f"{type(self).__name__}({', '.join(shown)})"


def without_frames(error: E) -> E:
    """The error, without the frames where it and its causes were raised.

    Error reports may show the variables of frames, and other libraries keep links there.
    """
    seen: set[int] = set()  # they may be in a circle
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            each.__traceback__ = None
            waiting += [each.__cause__, each.__context__]
    return error


def redacted(url: str) -> str:
    """The URL without user, password, query and fragment.

    >>> redacted("s3://KEY:SECRET@bucket/folder?region=eu"), redacted("folder/file")
    ('s3://bucket/folder', 'folder/file')
    """
    scheme, separator, _ = url.partition("://")
    if not separator:
        return url
    try:
        _, host, path = _split(url)
    except ValueError:  # brackets that are not those of an address
        return f"{scheme}://{_HIDDEN}"
    return f"{scheme}://{host}{path}"


def hide_secrets(text: str, url: str) -> str:
    """The text without the secrets of the URL."""
    text = text.replace(url, redacted(url))
    for secret in sorted(_secrets(url), key=len, reverse=True):
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, _HIDDEN)
    return text


def _shown(value: Any) -> str:
    if isinstance(value, str) and "://" in value:
        return repr(redacted(value))
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key!r}: {_shown(each)}' for key, each in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_shown, value))}]"
    return repr(value)


def _split(url: str) -> tuple[str, str, str]:
    """The user with the password, the host with the port, and the path."""
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    path = parts.path
    if not user and "@" in path and not _has_port(host):
        # A key with a slash, which should have been written as %2F.
        rest, _, path = f"{host}{path}".rpartition("@")
        user, (host, slash, path) = rest, path.partition("/")
        path = slash + path
    return user, host, path


def _has_port(host: str) -> bool:
    name, colon, port = host.rpartition(":")
    return not colon or port.isdigit() or name.startswith("[")


def _secrets(url: str) -> Iterator[str]:
    user, _, _ = _split(url)
    parts = urlsplit(url)
    password = user.partition(":")[2]
    for found in (password, parts.query, *(p.partition("=")[2] for p in parts.query.split("&"))):
        yield found
        yield unquote_plus(found)
        yield found.replace("%2F", "/")
