"""Moments as W&B writes them: in UTC, without saying so."""

from __future__ import annotations

from datetime import UTC, datetime


def aware(moment: datetime | None) -> datetime | None:
    """The same moment with its zone."""
    return moment.replace(tzinfo=UTC) if moment and moment.tzinfo is None else moment


def parsed(text: str | None) -> datetime | None:
    """The moment that the text says, or None if it says none."""
    try:
        return aware(datetime.fromisoformat(text)) if text else None
    except ValueError:
        return None
