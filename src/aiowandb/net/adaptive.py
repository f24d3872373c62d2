"""How many requests W&B can take, at once and per second, learnt from its responses. No I/O."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import NamedTuple, Self

from aiowandb.net.retry import seconds_until

# A response that takes longer than this, compared with the fastest one of its kind, has waited
# in a queue at the server. The seconds are for requests that are fast anyway.
_SLOWER_TIMES = 2.0
_SLOWER_S = 0.05
_FEWEST = 2


class Concurrency:
    """The number of requests at once: it rises while responses stay fast, and falls otherwise.

    It doubles in each round (a round is as many responses as there are slots) until
    something goes wrong for the first time; after that it rises by one in each round.
    A queue delays all requests, so the least delayed response of a round decides.
    """

    def __init__(self, max_limit: int, start: int = 4) -> None:
        self._max_limit = max_limit
        self._limit = float(min(start, max_limit))
        self._doubling = True
        self._cut_at = -math.inf
        self._fastest: dict[Hashable, float] = {}
        self._responses = 0
        self._least_delay = math.inf
        self._was_full = False

    @property
    def limit(self) -> int:
        return int(self._limit)

    def answered(self, now: float, started: float, kind: Hashable, *, full: bool) -> None:
        """A response came. Times are compared within one `kind`, and not at all if it is None;
        `full` is whether other requests were waiting for a slot."""
        seconds = now - started
        if kind is None:
            self._least_delay = -math.inf
        else:
            fastest = self._fastest[kind] = min(seconds, self._fastest.get(kind, seconds))
            delay = seconds - _SLOWER_TIMES * fastest - _SLOWER_S
            self._least_delay = min(self._least_delay, delay)
        self._responses += 1
        self._was_full = self._was_full or full
        if self._responses >= self._limit:
            self._end_round(now)

    def overloaded(self, now: float, started: float, keep: float = 0.5) -> None:
        """The server was overloaded: reduce the limit to this share, once a round."""
        self._doubling = False
        if started >= self._cut_at:
            self._cut_at = now
            self._limit = max(1.0, self._limit * keep)

    def _end_round(self, now: float) -> None:
        if self._least_delay > 0:
            self.overloaded(now, now, keep=0.8)
            if self._limit < _FEWEST:
                # We are not what slows it down: this is how fast the server is now.
                self._fastest.clear()
        elif self._was_full:
            more = self._limit if self._doubling else 1.0
            self._limit = min(float(self._max_limit), self._limit + more)
        self._responses = 0
        self._least_delay = math.inf
        self._was_full = False


_DIP = 0.1
_DIP_S = 8.0
# Fewer requests than this are not enough to measure a rate.
_ENOUGH = 10
# However often W&B refuses, a request is sent now and then.
_SLOWEST = 0.1


class Quota(NamedTuple):
    """What is left of the quota, in the server's units, and the seconds until it is renewed."""

    remaining: int
    reset: float

    @classmethod
    def of(cls, headers: Mapping[str, str], now: float) -> Self | None:
        """The quota in the `RateLimit-*` headers of a response that came at this time."""
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

    `now` is any monotonic clock. When the quota is used up, only the first response that
    says so counts; the other requests were already in progress.
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
        """How many seconds to wait before a request may start."""
        return max(self._next, self.resume_at) - now

    def start(self, now: float, *, queued: bool) -> None:
        """A request starts; `queued` if it had to wait for a limit."""
        if not queued:  # the quota was not used to the full: the count says nothing about it
            self._count = _Count(now)
        self._count.granted += 1
        self._next = now + 1 / self.rate(now)

    def pause(self, now: float, seconds: float) -> None:
        """Let no request start for this many seconds."""
        self.resume_at = max(self.resume_at, now + seconds)

    def used_up(self, now: float, started: float, pause: float) -> None:
        """The request that started then was granted, and used up the quota."""
        if self._is_news(now, started, pause):
            self._judge()
            # No request was refused: there is no need to slow down.
            self._level_at = self.resume_at - _DIP_S

    def refused(self, now: float, started: float, pause: float) -> None:
        """The request that started then was refused."""
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
        # For as long as a response takes, older requests compete with those that start now.
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
    """The requests that were granted between two times when the quota was used up."""

    def __init__(self, since: float) -> None:
        self.since = since
        self.until = math.inf
        self.granted = 0
