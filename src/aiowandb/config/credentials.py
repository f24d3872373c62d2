"""API keys and identity tokens: how they are found, and what they look like.

The first that exists is used: the argument, WANDB_API_KEY or
WANDB_IDENTITY_TOKEN_FILE, netrc (by host and port), the settings files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar
from urllib.parse import urlsplit

import msgspec

from aiowandb.config.hosts import names_of
from aiowandb.config.ini import SettingsFiles
from aiowandb.config.netrc import netrc_password, netrc_path
from aiowandb.errors import AiowandbError, ApiKeyError, UsageError

_SHORTEST_KEY = 40
# This many last characters distinguish keys without revealing them.
_SHOWN = 4
_FROM_ENVIRONMENT = "WANDB_API_KEY"
_FROM_FILE = "the settings file"

P = ParamSpec("P")
T = TypeVar("T")


def without_traceback_locals(function: Callable[P, T]) -> Callable[P, T]:
    """The function, with errors whose traceback has no frames from inside of it.

    Error reports may show the local variables of all frames, and one of them is the key.
    """

    @wraps(function)
    def quiet(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except AiowandbError as error:
            del args, kwargs
            error.__context__ = None
            raise error.with_traceback(None) from error.__cause__

    return quiet


class ApiKey:
    """An API key with its source; its repr does not show it."""

    __slots__ = ("_value", "source")

    def __init__(self, value: str, source: str = "argument") -> None:
        self._value = checked_key(value, source)
        self.source = source

    def reveal(self) -> str:
        """The key itself: only for the header of requests to W&B."""
        return self._value

    @property
    def hint(self) -> str:
        """Which key this is: its source and its last characters."""
        source = "the argument api_key" if self.source == "argument" else self.source
        return f"the API key from {source} that ends in {self._value[-_SHOWN:]}"

    def __repr__(self) -> str:
        return f"ApiKey(*** from {self.source})"


class IdentityToken(msgspec.Struct, frozen=True):
    """A token of another identity provider, in a file, which W&B exchanges for access tokens.

    The access tokens are kept in the file `cache` until they expire.
    """

    file: Path
    cache: Path

    @property
    def source(self) -> str:
        return str(self.file)

    @property
    def hint(self) -> str:
        """Which token this is."""
        return f"the identity token in {self.file}"


class AuthorizationHeader:
    """A header that takes the place of the API key, as a gateway in front of W&B wants it."""

    __slots__ = ("_value", "source")

    def __init__(self, value: str, source: str) -> None:
        self._value = value
        self.source = source

    def reveal(self) -> str:
        """The value itself: only for the header of requests to W&B."""
        return self._value

    @property
    def hint(self) -> str:
        """Which header this is."""
        return f"the header Authorization from {self.source}"

    def __repr__(self) -> str:
        return f"AuthorizationHeader(*** from {self.source})"


Credentials = ApiKey | IdentityToken | AuthorizationHeader


def checked_key(value: str, source: str) -> str:
    """Return the key if it is well-formed, else raise before any request is sent."""
    source = "the argument api_key" if source == "argument" else source
    if not value:
        raise ApiKeyError(f"The API key from {source} is empty.")
    if re.fullmatch(r"[\w-]+\.[\w-]+\.[\w-]+", value, re.ASCII):
        return value  # a JWT
    secret = value.split("-", 1)[1] if "-" in value else value
    if not re.fullmatch(r"[\w-]*", secret, re.ASCII):
        raise ApiKeyError(
            f"The API key from {source} has characters other than letters, digits, '-' and '_'."
        )
    if len(secret) < _SHORTEST_KEY:
        raise ApiKeyError(
            f"The API key from {source} has {len(secret)} characters,"
            f" and W&B's have at least {_SHORTEST_KEY}."
        )
    return value


def find_credentials(
    argument: str | None,
    base_url: str,
    files: SettingsFiles,
    environ: Mapping[str, str],
    default_url: str,
) -> Credentials | None:
    """The credentials for W&B at `base_url`; a key in a settings file is for the URL there."""
    if argument is not None:
        return ApiKey(argument)
    key, token = environ.get("WANDB_API_KEY"), environ.get("WANDB_IDENTITY_TOKEN_FILE")
    if key and token:
        raise UsageError(
            "WANDB_API_KEY and WANDB_IDENTITY_TOKEN_FILE are both set: unset one of them."
        )
    if key:
        return ApiKey(key, _FROM_ENVIRONMENT)
    if token:
        cache = environ.get("WANDB_CREDENTIALS_FILE") or files.get("credentials_file")
        return IdentityToken(
            Path(token).expanduser(),
            Path(cache or "~/.config/wandb/credentials.json").expanduser(),
        )
    path = netrc_path(environ)
    names = names_of(urlsplit(base_url).netloc)
    for name in names:
        if value := netrc_password(path, name):
            return ApiKey(value, str(path))

    def is_there(url: str | None) -> bool:
        url = (url or default_url).rstrip("/")
        return url == base_url or (len(names) > 1 and urlsplit(url).netloc in names)

    value = files.key_for(is_there)
    return ApiKey(value, _FROM_FILE) if value else None


def is_for_any_host(credentials: Credentials | None) -> bool:
    """Whether nothing says which host they are for, as netrc and settings files do."""
    if isinstance(credentials, ApiKey):
        return credentials.source in ("argument", _FROM_ENVIRONMENT)
    return credentials is not None
