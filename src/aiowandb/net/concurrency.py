"""How many requests W&B answers at once without getting slower, found out by trying. Sans-I/O."""

from __future__ import annotations

import math
from collections.abc import Hashable

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
