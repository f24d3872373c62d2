"""Which failed requests are retried, and after how long. A pure policy without a clock."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from datetime import UTC
from email.utils import parsedate_to_datetime

import msgspec

from aiowandb.errors import CommError, TimeoutError

# 4xx that fail however often they are sent, and 501, as in W&B's own client.
_FINAL = frozenset({400, 401, 403, 404, 407, 409, 410, 413, 422, 501})
_BUSY = frozenset({408, 503, 504})
# A longer pause is a mistake of the server's clock, and must not end the session.
_LONGEST_PAUSE = 3600.0
# A larger number is not a wait but a time since 1970.
_YEARS = 1e9


def _random() -> float:
    """A function, which pickles without the state of the generator.

    With it, all processes of a pool would wait for the same time.
    """
    return random.random()  # noqa: S311 - no secret


class RetryPolicy(msgspec.Struct, frozen=True):
    """When failed requests are retried, and how long to wait before.

    Waits are random, between zero and a ceiling that starts at `first_wait` seconds and doubles
    up to `max_wait`; if W&B says how long to wait, that is done instead. A request fails for
    good after the same response, but 408, 429 and 503, `max_same_failures` times in a row, after
    `max_connect_failures` at a host that has never answered, and after `max_failures` of any
    kind without progress.

    >>> async with AsyncApi(retry=RetryPolicy(max_wait=5, max_failures=3)) as api:
    ...     run = await api.run("entity/project/run_id")
    """

    first_wait: float = 0.5
    max_wait: float = 30.0
    max_same_failures: int = 3
    max_connect_failures: int = 2
    max_failures: int = 20
    random: Callable[[], float] = _random

    def is_transient(self, status: int) -> bool:
        return status >= 400 and status not in _FINAL

    def is_overload(self, error: CommError) -> bool:
        """Whether the server was overloaded."""
        return isinstance(error, TimeoutError) or error.status in _BUSY

    def wait(self, attempt: int, retry_after: float | None = None) -> float:
        """Seconds to wait after this failed attempt, counted from 0."""
        if retry_after is not None:
            return retry_after
        ceiling = min(self.max_wait, self.first_wait * 2.0 ** min(attempt, 30))
        return ceiling * self.random()


def retry_after(value: str | None, now: float) -> float | None:
    """The seconds in a `Retry-After` header, which is a number or a date."""
    try:
        return seconds_until(float(value or ""), now)
    except ValueError:
        pass
    try:
        when = parsedate_to_datetime(value or "")
        # A date without a zone is in UTC, as all dates in HTTP.
        return seconds_until(when.replace(tzinfo=when.tzinfo or UTC).timestamp(), now)
    except (ValueError, OverflowError):
        return None


def seconds_until(moment: float, now: float) -> float | None:
    """The wait in a header that has seconds from `now`, or seconds since 1970."""
    if not 0 <= moment < math.inf:
        return None
    seconds = moment - now if moment > _YEARS else moment
    return min(max(0.0, seconds), _LONGEST_PAUSE)
