"""How many requests a second W&B takes, found out from what it grants and refuses. Sans-I/O.

Whether a server counts in windows or fills a bucket: from one time that the quota is used up
to the next it grants what its rate allows. That is how the rate is measured. The pace then
follows the curve of TCP's CUBIC: from a tenth below the rate back up to it, level for a
while, and then faster and faster, until the quota is used up again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple, Self

from aiowandb.net.retry import seconds_until

_DIP = 0.1
_DIP_S = 8.0
# Fewer requests than this tell no rate.
_ENOUGH = 10
# However often W&B refuses, it is asked again now and then.
_SLOWEST = 0.1


class Quota(NamedTuple):
    """What is left of the quota, in the server's units, and in how many seconds it is renewed."""

    remaining: int
    reset: float

    @classmethod
    def of(cls, headers: Mapping[str, str], now: float) -> Self | None:
        """What the `RateLimit-*` headers of an answer say, which came at this time."""
        try:
            remaining = max(0, int(headers["RateLimit-Remaining"]))
            reset = seconds_until(float(headers["RateLimit-Reset"]), now)
        except (KeyError, ValueError):
            return None
        return None if reset is None else cls(remaining, reset)

    @property
    def pause(self) -> float:
        """For how many seconds to send nothing."""
        return 0.0 if self.remaining else self.reset


class Pace:
    """Spaces requests evenly once W&B has shown a limit.

    `now` is any clock that never goes back. What one use-up of the quota brings about is
    decided by the first request to tell of it; the others were under way by then.
    """

    def __init__(self, max_rate: float | None = None) -> None:
        self.learnt = math.inf
        self.resume_at = -math.inf
        self._max_rate = max_rate or math.inf
        self._level_at = math.inf
        self._next = -math.inf
        self._news_after = -math.inf
        self._count = _Count(-math.inf)
        self._judged = self._count

    def rate(self, now: float) -> float:
        """Requests a second at this time; infinite while no limit is known."""
        progress = max(-1.0, (now - self._level_at) / _DIP_S)
        return min(self._max_rate, max(_SLOWEST, self.learnt * (1 + _DIP * progress**3)))

    def wait(self, now: float) -> float:
        """For how many seconds no request may start."""
        return max(self._next, self.resume_at) - now

    def start(self, now: float, *, queued: bool) -> None:
        """A request starts, after it was `queued` by this limiter or at once."""
        if not queued:  # the quota has rested: what was counted tells nothing any more
            self._count = _Count(now)
        self._count.granted += 1
        self._next = now + 1 / self.rate(now)

    def pause(self, now: float, seconds: float) -> None:
        """Let no request start for so long."""
        self.resume_at = max(self.resume_at, now + seconds)

    def used_up(self, now: float, started: float, pause: float) -> None:
        """The request of that start was granted with the last of the quota."""
        if self._is_news(now, started, pause):
            self._judge()
            # Told in time nobody was refused: there is no need to be timid.
            self._level_at = self.resume_at - _DIP_S

    def refused(self, now: float, started: float, pause: float) -> None:
        """The request of that start was not granted."""
        if self._is_news(now, started, pause):
            sent = self._count.granted / max(now - self._count.since, 1e-3)
            self.learnt = min(self.learnt, sent) * (1 - _DIP)
            self._judge()
            self._level_at = self.resume_at + _DIP_S
        count = self._judged if started < self._judged.until else self._count
        count.granted -= 1
        self._learn()

    def _is_news(self, now: float, started: float, pause: float) -> bool:
        self.pause(now, pause)
        if started < self._news_after:
            return False
        # As long as an answer takes, what was under way competes with what starts now.
        self._news_after = now + (now - started)
        return True

    def _judge(self) -> None:
        self._judged = self._count
        if self._count.granted >= _ENOUGH:
            self._judged.until = self.resume_at
            self._learn()
            self._count = _Count(self.resume_at)

    def _learn(self) -> None:
        if self._judged.until < math.inf:
            span = max(self._judged.until - self._judged.since, 1e-3)
            self.learnt = self._judged.granted / span


class _Count:
    """Requests granted from one use-up of the quota to the next."""

    def __init__(self, since: float) -> None:
        self.since = since
        self.until = math.inf
        self.granted = 0
