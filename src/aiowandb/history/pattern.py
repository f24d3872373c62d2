"""Detects whether runs are read one after another, and how fast, to decide what to read ahead."""

from __future__ import annotations

import anyio

from aiowandb.history import neighbours
from aiowandb.history.neighbours import Position


class Pattern:
    """The runs for which a call was made, in the order of the calls."""

    def __init__(self) -> None:
        self.last: int | None = None
        self._last_at = 0.0
        self._seconds = 0.0
        # How many runs were read in a row, and after how many the next ones are expected.
        self._in_a_row = 0
        self._needed = 1
        self._used = self._skipped = 0

    def goes_on(self, position: Position) -> bool:
        """Whether this is the next run."""
        return self.last is not None and position.follows(self.last)

    def note(self, position: Position, *, used: bool = False, skipped: int = 0) -> None:
        """Record that this run is read, whether it was read ahead, and how many others in vain."""
        self._in_a_row = self._in_a_row + 1 if used or self.goes_on(position) else 0
        self._used += used
        self._skipped += skipped
        if self._skipped > self._used:
            # Most of the runs were read ahead in vain.
            self._needed *= 2
            self._in_a_row = self._used = self._skipped = 0
        now = anyio.current_time()
        if self.last is not None:
            self._seconds = (self._seconds + now - self._last_at) / 2
        self.last, self._last_at = position.number, now

    @property
    def is_regular(self) -> bool:
        return self._in_a_row >= self._needed

    def expected(self, most: int) -> int:
        """How many more runs will probably be read before rows that are read now are too old."""
        if not self.is_regular:
            return 0
        return int(min(most, neighbours.FRESH_SECONDS / 2 / max(self._seconds, 1e-6)))
