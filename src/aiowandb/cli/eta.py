"""When something may be done, estimated from how much of it is: steady, and silent at first."""

from __future__ import annotations

import math
from collections import deque

# What is done comes in bursts: a rate over less than this would jump with each of them.
_WINDOW_S = 30.0
# Before that, and before that many bursts, there is nothing to tell a rate from.
_FIRST_S = 5.0
_FIRST_STEPS = 3
# How fast the estimate follows news.
_SMOOTHING_S = 8.0


class Estimate:
    """How many seconds are left, from shares between 0 and 1 at times that grow."""

    def __init__(self, now: float) -> None:
        self._began = now
        self._recent = deque([(now, 0.0)])
        self._steps = 0
        self._end: float | None = None

    def add(self, now: float, share: float) -> None:
        """So much is done by now."""
        before, last = self._recent[-1]
        self._steps += share > last
        self._recent.append((now, share))
        while len(self._recent) > 2 and now - self._recent[1][0] >= _WINDOW_S:
            self._recent.popleft()
        since, old = self._recent[0]
        if now - self._began < _FIRST_S or self._steps < _FIRST_STEPS:
            return
        if share <= old:
            self._end = None  # nothing moves: nobody knows
            return
        end = now + (1 - share) * (now - since) / (share - old)
        if self._end is None:
            self._end = end
        else:
            self._end += (end - self._end) * -math.expm1((before - now) / _SMOOTHING_S)

    @property
    def left(self) -> float | None:
        """How many seconds it may take from the last time on, or None while nobody can say."""
        return None if self._end is None else max(0.0, self._end - self._recent[-1][0])
