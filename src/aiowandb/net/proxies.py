"""Which proxies the environment wants, in the form in which httpx takes transports.

httpx reads the environment itself only for clients that have no transport.
"""

from __future__ import annotations

from ipaddress import ip_address
from urllib.request import getproxies


def environment_proxies() -> dict[str, str | None]:
    """The proxy for each pattern of URLs, None for those to which the way is direct.

    They are `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` in capital or small letters,
    and what the system says on Windows and macOS.
    """
    found = getproxies()
    direct = [host for entry in found.get("no", "").split(",") if (host := entry.strip())]
    if "*" in direct:
        return {}
    proxies: dict[str, str | None] = {
        f"{scheme}://": address if "://" in address else f"http://{address}"
        for scheme in ("http", "https", "all")
        if (address := found.get(scheme))
    }
    return proxies | dict.fromkeys(map(_pattern, direct))


def _pattern(host: str) -> str:
    """An entry of `NO_PROXY` as httpx writes it. A domain stands for those below it as well."""
    if "://" in host:
        return host
    if host.lower() == "localhost":
        return f"all://{host}"
    try:
        version = ip_address(host.partition("/")[0]).version
    except ValueError:
        return f"all://*{host}"
    return f"all://[{host}]" if version == 6 else f"all://{host}"
