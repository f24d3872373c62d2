"""How many requests W&B takes: at once, and a second. Found out by trying; sans-I/O."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import NamedTuple, Self

from aiowandb.net.retry import seconds_until

# Slower than this beside the quickest answer to such a question means that there is a queue
# at the server. The seconds are for what is quick anyway.
_SLOWER_TIMES = 2.0
_SLOWER_S = 0.05
_FEWEST = 2


class Concurrency:
    """A number that rises while answers come as quickly as ever and falls when they do not.

    It doubles round by round (a round is as many answers as there are places) until
    something goes wrong for the first time; after that it rises by one a round.
    A queue delays everybody, so the least delayed answer of a round tells.
    """

    def __init__(self, most: int, start: int = 4) -> None:
        self._most = most
        self._places = float(min(start, most))
        self._doubling = True
        self._cut_at = -math.inf
        self._quickest: dict[Hashable, float] = {}
        self._answers = 0
        self._least_delay = math.inf
        self._was_full = False

    @property
    def places(self) -> int:
        return int(self._places)

    def answered(self, now: float, started: float, kind: Hashable, *, full: bool) -> None:
        """An answer came. `kind` tells questions that take different times apart, None says
        that time tells nothing; `full` is whether somebody waited for a place."""
        seconds = now - started
        if kind is None:
            self._least_delay = -math.inf
        else:
            quickest = self._quickest[kind] = min(seconds, self._quickest.get(kind, seconds))
            delay = seconds - _SLOWER_TIMES * quickest - _SLOWER_S
            self._least_delay = min(self._least_delay, delay)
        self._answers += 1
        self._was_full = self._was_full or full
        if self._answers >= self._places:
            self._end_round(now)

    def overloaded(self, now: float, started: float, keep: float = 0.5) -> None:
        """The server had too much to do: go down to this share of the places, once a round."""
        self._doubling = False
        if started >= self._cut_at:
            self._cut_at = now
            self._places = max(1.0, self._places * keep)

    def _end_round(self, now: float) -> None:
        if self._least_delay > 0:
            self.overloaded(now, now, keep=0.8)
            if self._places < _FEWEST:
                # It is not us who make it slow: this is how quick the server is now.
                self._quickest.clear()
        elif self._was_full:
            more = self._places if self._doubling else 1.0
            self._places = min(float(self._most), self._places + more)
        self._answers = 0
        self._least_delay = math.inf
        self._was_full = False


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
