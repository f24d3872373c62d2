"""Settings from arguments, the environment and files, in this order.

The precedence is the same as in W&B's own tools. A value is taken from the first place that has
it: the argument, WANDB_*, the settings file of the working folder, that of the user. Credentials
have an order of their own, see `credentials`.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from aiowandb.config.credentials import (
    ApiKey,
    AuthorizationHeader,
    Credentials,
    find_credentials,
    is_for_any_host,
)
from aiowandb.config.headers import AUTHORIZATION, ExtraHeaders, environment_headers
from aiowandb.config.hosts import api_behind, names_of, pages_of
from aiowandb.config.ini import SettingsFiles, read_settings
from aiowandb.errors import UsageError
from aiowandb.user_warnings import warn

if TYPE_CHECKING:
    import ssl

DEFAULT_BASE_URL = "https://api.wandb.ai"
_SECURE_NAMES = frozenset({*names_of("api.wandb.ai"), *names_of("api.qa.wandb.ai")})


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of a session.

    `timeout` is how many seconds one request may take, with retries but without the time in
    our own queue; `http_timeout` is how long one attempt may be silent, and `total_timeout` how
    long one call may take in all. `max_rate` is how many requests may start in a second, and
    `max_memory` how many bytes the rows in flight may take. `proxies` are by scheme. `headers` are
    sent to W&B's host.
    """

    base_url: str = DEFAULT_BASE_URL
    credentials: Credentials | None = None
    entity: str | None = None
    project: str | None = None
    timeout: float = 120.0
    http_timeout: float = 30.0
    total_timeout: float | None = None
    max_concurrency: int = 16
    max_rate: float | None = None
    max_memory: int = 1 << 30
    proxies: Mapping[str, str] = {}
    verify: ssl.SSLContext | bool = True
    headers: ExtraHeaders = ExtraHeaders()

    @classmethod
    def load(
        cls,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        entity: str | None = None,
        project: str | None = None,
        timeout: float | None = None,
        total_timeout: float | None = None,
        max_concurrency: int | None = None,
        max_rate: float | None = None,
        max_memory: int | None = None,
        proxy: str | None = None,
        verify: ssl.SSLContext | bool | None = None,
        headers: Mapping[str, str] | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> Settings:
        """Load the settings from the arguments, the environment and the files."""
        files = read_settings(environ)

        def found(name: str) -> str | None:
            return environ.get(f"WANDB_{name.upper()}") or files.get(name)

        url = checked_url(base_url or found("base_url") or DEFAULT_BASE_URL)
        given = ExtraHeaders(headers)
        extra = given | environment_headers(environ, found("x_extra_http_headers"))
        if header := given.get(AUTHORIZATION):
            if api_key is not None:
                raise UsageError("Pass either api_key or the header Authorization.")
            credentials: Credentials | None = AuthorizationHeader(header, "headers=")
        else:
            credentials = find_credentials(api_key, url, files, environ, DEFAULT_BASE_URL)
        if credentials is None and (header := extra.get(AUTHORIZATION)):
            credentials = AuthorizationHeader(header, "WANDB__EXTRA_HTTP_HEADERS")
        if not (base_url or environ.get("WANDB_BASE_URL")):
            _warn_if_folder_decides(url, credentials, files)
        defaults = cls()
        if total_timeout is None and (text := environ.get("AIOWANDB_TOTAL_TIMEOUT")):
            total_timeout = _positive("AIOWANDB_TOTAL_TIMEOUT", text, 0.0)
        if max_memory is None and (text := environ.get("AIOWANDB_MAX_MEMORY")):
            max_memory = bytes_in(text)
            if not max_memory:
                raise UsageError(f"AIOWANDB_MAX_MEMORY is {text!r}, not a size like 500MB or 2GB.")
        return cls(
            base_url=url,
            credentials=credentials,
            entity=entity or found("entity"),
            project=project or found("project"),
            timeout=_positive("timeout", timeout, defaults.timeout),
            http_timeout=_positive(
                "WANDB_HTTP_TIMEOUT", found("http_timeout"), defaults.http_timeout
            ),
            total_timeout=total_timeout,
            max_memory=int(_positive("max_memory", max_memory, defaults.max_memory)),
            max_concurrency=math.ceil(
                _positive("max_concurrency", max_concurrency, defaults.max_concurrency)
            ),
            max_rate=None if max_rate is None else _positive("max_rate", max_rate, 0.0),
            proxies={
                f"{scheme}://": _checked_proxy(address)
                for scheme in ("http", "https")
                if (address := proxy or found(f"{scheme}_proxy"))
            },
            verify=_verification(verify, found("insecure_disable_ssl")),
            headers=extra.without(AUTHORIZATION),
        )

    def __repr__(self) -> str:
        # The URL of a proxy may contain a password.
        return f"<Settings {self.base_url} {self.credentials!r}>"


def app_url(base_url: str) -> str:
    """The URL of the web pages for the base URL of an API."""
    scheme, _, rest = base_url.partition("://")
    if of_cloud := pages_of(rest):
        return of_cloud
    return f"{scheme}://app.{rest[4:]}" if rest.startswith("api.") else base_url


def refused_credentials(credentials: Credentials | None, base_url: str, status: int) -> str:
    """The message for credentials that W&B does not accept: which they are, and what to do."""
    if credentials is None:
        return f"The request had no API key: get one at {app_url(base_url)}/authorize."
    if status == 403:
        return f"The request used {credentials.hint}, which has no access to this."
    if isinstance(credentials, ApiKey):
        page = f"{app_url(base_url)}/authorize"
        host = urlsplit(base_url).netloc
        return f"The request used {credentials.hint}, which {host} rejects: get a key at {page}."
    return f"The request used {credentials.hint}."


def checked_url(url: str) -> str:
    """The base URL for requests; a `UsageError` if it cannot be one."""
    if "@" in url:
        # It may contain a password and is not shown.
        raise UsageError(f"The base URL must not have a user: write it like {DEFAULT_BASE_URL}.")
    scheme, host = "", ""
    with suppress(ValueError):
        parts = urlsplit(url)
        if parts.port != 0:
            scheme, host = parts.scheme, parts.hostname or ""
    if scheme not in ("http", "https") or not host or " " in url:
        raise UsageError(f"{url!r} is not a base URL: write it like {DEFAULT_BASE_URL}.")
    if f".{host}".endswith(".wandb.ai") and (scheme == "http" or "api." not in host):
        raise UsageError(f"{url} is not the base URL of W&B's cloud: use {DEFAULT_BASE_URL}.")
    try:
        found = api_behind(url).rstrip("/")
    except ValueError as right:
        raise UsageError(f"{url} is not the base URL of W&B's cloud: use {right}.") from None
    if scheme == "http" and host in _SECURE_NAMES:
        raise UsageError(f"{url} would send the API key unencrypted: write https://{host}.")
    return found


def _checked_proxy(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https", "socks5", "socks5h") or not parts.hostname:
        # The URL may contain a password and is not shown.
        raise UsageError("The proxy is not a URL: write it like http://proxy.example:3128.")
    return url


def bytes_in(size: str) -> int | None:
    """How many bytes `500MB`, `2GB` or a number of bytes are, if it is a size.

    Each unit is 1024 of the smaller one.
    """
    found = re.fullmatch(r"(?i)([0-9]{1,15}(?:\.[0-9]{1,9})?) ?([KMG]?)i?B?", size)
    return found and int(float(found[1]) * 1024 ** " KMG".index(found[2].upper() or " "))


def _positive(name: str, value: str | float | None, default: float) -> float:
    try:
        number = float(default if value is None else value)
    except ValueError:
        number = -1.0
    if not number > 0:
        raise UsageError(f"{name} must be more than zero, not {value}.")
    return number


def _warn_if_folder_decides(
    url: str, credentials: Credentials | None, files: SettingsFiles
) -> None:
    """W&B's own client sends the credentials without a word."""
    user_url = files.user.get("base_url", DEFAULT_BASE_URL).rstrip("/")
    if credentials is None or "base_url" not in files.folder or url == user_url:
        return
    if is_for_any_host(credentials):
        warn(
            f"{credentials.hint[0].upper()}{credentials.hint[1:]} is sent to {url}, because"
            f" {files.folder_path} says so. If you do not trust this file, set WANDB_BASE_URL.",
            UserWarning,
        )


def _verification(
    verify: ssl.SSLContext | bool | None, disabled: str | None
) -> ssl.SSLContext | bool:
    if verify is None:
        verify = (disabled or "").lower() not in ("1", "true", "yes", "on")
    if not getattr(verify, "verify_mode", verify):  # a context says CERT_NONE, which is zero
        warn(
            "Certificates are not verified because of verify= or WANDB_INSECURE_DISABLE_SSL:"
            " anyone on the network path can pose as W&B and read the API key.",
            UserWarning,
        )
    return verify
