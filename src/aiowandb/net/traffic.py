"""What a session has sent and received: the numbers that users pay for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import msgspec


class Traffic(msgspec.Struct):
    """Counts since the session began. `requests` are those that W&B's limits count.

    `refused` were answered with 429. The last pause that W&B asked for lasts until
    `throttled_until` (as `time.time()`), and `rate_limit` is how many requests a second
    it was last seen to grant; None while it has shown no limit.
    """

    requests: int = 0
    downloads: int = 0
    received_bytes: int = 0
    refused: int = 0
    throttled_until: float = 0.0
    rate_limit: float | None = None

    def since(self, earlier: Traffic) -> Traffic:
        """What came after `earlier`, a copy made with `copy.copy`."""
        return Traffic(
            requests=self.requests - earlier.requests,
            downloads=self.downloads - earlier.downloads,
            received_bytes=self.received_bytes - earlier.received_bytes,
            refused=self.refused - earlier.refused,
            throttled_until=self.throttled_until,
            rate_limit=self.rate_limit,
        )


# What the work of this context has caused, by the session that it was sent through. Tasks
# inherit it from whoever starts them.
_parts: ContextVar[tuple[tuple[Traffic, Traffic], ...]] = ContextVar("_parts", default=())


@contextmanager
def part_of(traffic: Traffic) -> Iterator[Traffic]:
    """Counts what the block and its tasks cause, whatever else the session does meanwhile."""
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
    """Add to what the session has sent and received, and to the parts that this is of."""
    parts = [part for session, part in _parts.get() if session is traffic]
    for one in (traffic, *parts):
        one.requests += requests
        one.downloads += downloads
        one.received_bytes += received_bytes
        one.refused += refused
