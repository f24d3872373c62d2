"""How often an export makes sure that finished runs survive a kill, where that takes a while.

On a disk each run is staged at once. A commit of a database takes milliseconds, an upload tenths of
a second, and a commit of Iceberg leaves one more version of a table.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class CommitPace:
    """When the next commit is due: soon, as a kill loses what came since, but not all the time.

    That is `seconds` after the last one, and, if that is longer, after twice the time that it took,
    and after that `share` of the time since the first one, which is at most `most_seconds`.
    """

    def __init__(
        self,
        seconds: float = 0.0,
        share: float = 0.0,
        most_seconds: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._seconds = seconds
        self._share = share
        self._most_seconds = most_seconds
        self._clock = clock
        self._began = self._last = clock()
        self._took = 0.0

    @property
    def is_due(self) -> bool:
        """Whether a run that is finished now is to be committed now."""
        now = self._clock()
        share = min(self._most_seconds, self._share * (now - self._began))
        return now - self._last >= max(self._seconds, 2 * self._took, share)

    @contextmanager
    def committing(self) -> Iterator[None]:
        """Notes when the block ends, and how long it took."""
        began = self._clock()
        yield
        self._last = self._clock()
        self._took = self._last - began
