"""Counts what a session has sent and received."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import msgspec


class Traffic(msgspec.Struct):
    """Counts since the session began. `requests` are those that W&B's limits count.

    `refused` were answered with 429. The last pause that W&B asked for lasts until
    `throttled_until` (as `time.time()`), and `rate_limit` is how many requests a second
    it last granted; None while no limit is known.
    """

    requests: int = 0
    downloads: int = 0
    received_bytes: int = 0
    refused: int = 0
    throttled_until: float = 0.0
    rate_limit: float | None = None

    def since(self, earlier: Traffic) -> Traffic:
        """What was added since `earlier`, a copy made with `copy.copy`."""
        return Traffic(
            requests=self.requests - earlier.requests,
            downloads=self.downloads - earlier.downloads,
            received_bytes=self.received_bytes - earlier.received_bytes,
            refused=self.refused - earlier.refused,
            throttled_until=self.throttled_until,
            rate_limit=self.rate_limit,
        )


# The counts of blocks that are being measured, with the session that they belong to. Tasks
# inherit them from the task that starts them.
_parts: ContextVar[tuple[tuple[Traffic, Traffic], ...]] = ContextVar("_parts", default=())


@contextmanager
def part_of(traffic: Traffic) -> Iterator[Traffic]:
    """Counts the traffic of this block and its tasks only, whatever else the session does."""
    part = Traffic()
    token = _parts.set((*_parts.get(), (traffic, part)))
    try:
        yield part
    finally:
        _parts.reset(token)


def count(
    traffic: Traffic,
    *,
    requests: int = 0,
    downloads: int = 0,
    received_bytes: int = 0,
    refused: int = 0,
) -> None:
    """Add to the counts of the session, and of the blocks that are being measured."""
    parts = [part for session, part in _parts.get() if session is traffic]
    for one in (traffic, *parts):
        one.requests += requests
        one.downloads += downloads
        one.received_bytes += received_bytes
        one.refused += refused
