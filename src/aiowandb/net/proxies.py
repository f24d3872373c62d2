"""The proxies of the environment, as patterns for httpx's transports.

httpx itself reads the environment only for clients without a transport.
"""

from __future__ import annotations

from ipaddress import ip_address
from urllib.request import getproxies


def environment_proxies() -> dict[str, str | None]:
    """The proxy for each pattern of URLs; None for URLs without a proxy.

    They come from `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` in upper or lower case,
    and on Windows and macOS from the system settings.
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
    """An entry of `NO_PROXY` as a pattern of httpx. A domain includes its subdomains."""
    if "://" in host:
        return host
    if host.lower() == "localhost":
        return f"all://{host}"
    try:
        version = ip_address(host.partition("/")[0]).version
    except ValueError:
        return f"all://*{host}"
    return f"all://[{host}]" if version == 6 else f"all://{host}"
