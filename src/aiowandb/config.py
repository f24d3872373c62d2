"""Where settings come from: arguments, then the environment, then files.

The precedence is the one that W&B users know. A value is taken from the first
place that has it:

    api key    argument, WANDB_API_KEY, netrc (by host and port), settings files
    the rest   argument, WANDB_*, workspace settings file, global settings file
"""

from __future__ import annotations

import configparser
import netrc
import os
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from aiowandb.errors import ApiKeyError, UsageError

DEFAULT_BASE_URL = "https://api.wandb.ai"
_SHORTEST_KEY = 40


class ApiKey:
    """An API key that knows where it came from and never shows itself."""

    __slots__ = ("_value", "source")

    def __init__(self, value: str, source: str = "argument") -> None:
        self._value = checked_key(value, source)
        self.source = source

    def reveal(self) -> str:
        """The key itself: for the header of a request to W&B and for nothing else."""
        return self._value

    def __repr__(self) -> str:
        return f"ApiKey(*** from {self.source})"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What a session needs to know, gathered once.

    `timeout` is the total time in seconds that one request may take, retries included.
    """

    base_url: str = DEFAULT_BASE_URL
    api_key: ApiKey | None = None
    entity: str | None = None
    project: str | None = None
    timeout: float = 120.0
    max_concurrency: int = 16

    @classmethod
    def load(
        cls,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        entity: str | None = None,
        project: str | None = None,
        timeout: float | None = None,
        max_concurrency: int | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> Settings:
        """Gather the settings from the arguments, the environment and the files."""
        files = _settings_files(environ)
        url = _checked_url(
            base_url or environ.get("WANDB_BASE_URL") or files.get("base_url") or DEFAULT_BASE_URL
        )
        defaults = cls()
        return cls(
            base_url=url,
            api_key=_find_key(api_key, url, environ, files),
            entity=entity or environ.get("WANDB_ENTITY") or files.get("entity"),
            project=project or environ.get("WANDB_PROJECT") or files.get("project"),
            timeout=_positive("timeout", defaults.timeout if timeout is None else timeout),
            max_concurrency=int(
                _positive(
                    "max_concurrency",
                    defaults.max_concurrency if max_concurrency is None else max_concurrency,
                )
            ),
        )


def checked_key(value: str, source: str) -> str:
    """The key as it goes on the wire; a malformed one is refused before any request."""
    if not value:
        raise ApiKeyError(f"The API key from {source} is empty.")
    if re.fullmatch(r"[\w-]+\.[\w-]+\.[\w-]+", value, re.ASCII):
        return value  # a JWT carries its own structure
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


def _find_key(
    argument: str | None, base_url: str, environ: Mapping[str, str], files: Mapping[str, str]
) -> ApiKey | None:
    if argument is not None:
        return ApiKey(argument)
    if value := environ.get("WANDB_API_KEY"):
        return ApiKey(value, "WANDB_API_KEY")
    netrc_file = netrc_path(environ)
    if value := _netrc_password(netrc_file, urlsplit(base_url).netloc):
        return ApiKey(value, str(netrc_file))
    file_host = files.get("base_url", DEFAULT_BASE_URL).rstrip("/")
    if (value := files.get("api_key")) and file_host == base_url:
        return ApiKey(value, "the settings file")
    return None


def netrc_path(environ: Mapping[str, str] = os.environ) -> Path:
    """The netrc file that W&B's tools share: $NETRC, else ~/.netrc, else ~/_netrc."""
    if named := environ.get("NETRC"):
        return Path(named).expanduser()
    usual, other = Path.home() / ".netrc", Path.home() / "_netrc"
    return other if other.exists() and not usual.exists() else usual


def _netrc_password(path: Path, host: str) -> str | None:
    try:
        found = netrc.netrc(path).authenticators(host)
    except FileNotFoundError:
        return None
    except (netrc.NetrcParseError, OSError) as error:
        # The parser quotes the line it stumbled over, which may be the one with the key.
        reason = error.strerror if isinstance(error, OSError) else "it is not in netrc's format"
        raise UsageError(f"Cannot read {path}: {reason}.") from None
    return found[2] if found else None


def _settings_files(environ: Mapping[str, str]) -> dict[str, str]:
    home = Path(environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb").expanduser()
    root = Path(environ.get("WANDB_DIR") or ".")
    folder = ".wandb" if (root / ".wandb").is_dir() else "wandb"
    found: dict[str, str] = {}
    for path in (home / "settings", root / folder / "settings"):
        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read(path)
        except (configparser.Error, UnicodeDecodeError):
            raise UsageError(f"Cannot read {path}: it is not an INI file.") from None
        if parser.has_section("default"):
            found.update(parser["default"])
    return found


def app_url(base_url: str) -> str:
    """Where the pages for people are, given where the API is."""
    scheme, _, rest = base_url.partition("://")
    if rest == "api.wandb.ai":
        return "https://wandb.ai"
    return f"{scheme}://app.{rest[4:]}" if rest.startswith("api.") else base_url


def _checked_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"The base URL {url!r} is not one: write it like {DEFAULT_BASE_URL}.")
    return url.rstrip("/")


def _positive(name: str, value: float) -> float:
    if not value > 0:
        raise UsageError(f"{name} must be more than zero, not {value}.")
    return value
