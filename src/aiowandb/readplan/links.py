"""When links expire, which is part of the URLs of object stores."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, urlsplit


def ends_at(url: str) -> datetime | None:
    """When the link expires, or None if the URL does not contain it.

    >>> ends_at("https://store.test/a?X-Amz-Date=20260102T030405Z&X-Amz-Expires=60")
    datetime.datetime(2026, 1, 2, 3, 5, 5, tzinfo=datetime.timezone.utc)
    """
    with suppress(ValueError, OverflowError):
        query = {name.lower(): value for name, value in parse_qsl(urlsplit(url).query)}
        return _of_amazon_or_google(query) or _of_azure(query) or _of_seconds(query)
    return None


def _of_amazon_or_google(query: Mapping[str, str]) -> datetime | None:
    for vendor in ("amz", "goog"):
        signed, lifetime = query.get(f"x-{vendor}-date"), query.get(f"x-{vendor}-expires")
        if signed and lifetime:
            since = datetime.strptime(signed, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
            return since + timedelta(seconds=int(lifetime))
    return None


def _of_azure(query: Mapping[str, str]) -> datetime | None:
    end = query.get("se")
    if end is None:
        return None
    found = datetime.fromisoformat(end)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _of_seconds(query: Mapping[str, str]) -> datetime | None:
    seconds = query.get("expires")
    return datetime.fromtimestamp(int(seconds), UTC) if seconds else None
