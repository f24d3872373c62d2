"""The host names of W&B's cloud: those of the API, and those of the web pages."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

# The host of the pages, and the older host of the API. The newer host of the API is `api.` with
# the host of the pages.
_OLDER_API = {
    "forge.coreweave.com": "api.wandb.ai",
    "qa.forge.coreweave.com": "api.qa.wandb.ai",
}
_API_PATH = "/api/wandb"
_PAGES_PATH = "/wandb"
_OLDER_PAGES = frozenset({"wandb.ai", "www.wandb.ai", "app.wandb.ai"})


def names_of(host: str) -> list[str]:
    """All host names of the API at this host, this one first.

    >>> names_of("api.wandb.ai")
    ['api.wandb.ai', 'api.forge.coreweave.com', 'forge.coreweave.com']
    """
    for pages, older in _OLDER_API.items():
        names = [older, f"api.{pages}", pages]
        if host in names:
            return list(dict.fromkeys([host, *names]))
    return [host]


def api_behind(url: str) -> str:
    """The URL of the API, if this is the URL of its proxy; other URLs are returned unchanged.

    Raises `ValueError`, with the right URL, for other URLs at the host of the pages.

    >>> api_behind("https://forge.coreweave.com/api/wandb")
    'https://api.forge.coreweave.com'
    """
    parts = urlsplit(url)
    host = parts.hostname
    if host not in _OLDER_API:
        return url
    if parts.scheme == "https" and parts.port is None and parts.path.rstrip("/") == _API_PATH:
        return f"https://api.{host}"
    raise ValueError(f"https://api.{host}")


def pages_of(host: str) -> str | None:
    """The URL of the web pages, if this is a host of the cloud's API."""
    if host == "api.wandb.ai":
        return "https://wandb.ai"
    for pages, older in _OLDER_API.items():
        if host in (older, f"api.{pages}"):
            return f"https://{pages}{_PAGES_PATH}"
    return None


def is_this_machine(host: str) -> bool:
    """Whether this host, with or without a port, is certainly this machine.

    >>> is_this_machine("127.0.0.1:8080"), is_this_machine("[::1]"), is_this_machine("wandb.ai")
    (True, True, False)
    """
    name = urlsplit(f"//{host}").hostname or ""
    if name in ("localhost", "wandb.in-process"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def is_cloud_page(host: str) -> bool:
    """Whether this is a host of the cloud's web pages."""
    return host in _OLDER_PAGES or host in _OLDER_API


def page_path(host: str, path: str) -> str | None:
    """The path of a page below the root of the pages, or None if the host has no such page.

    >>> page_path("forge.coreweave.com", "/wandb/me/mnist/runs/abc123")
    '/me/mnist/runs/abc123'
    """
    if host not in _OLDER_API:
        return path
    below = path.removeprefix(_PAGES_PATH)
    return below if below != path and below[:1] in ("", "/") else None
