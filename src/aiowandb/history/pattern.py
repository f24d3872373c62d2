"""Whether runs are read one after another, and how fast: what is worth reading ahead."""

from __future__ import annotations

import anyio

from aiowandb.history import neighbours
from aiowandb.history.neighbours import Position


class Pattern:
    """The runs for which one call was made, in the order in which that was done."""

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
        """This run is read; what was read ahead of it was used, and of other runs was not."""
        self._in_a_row = self._in_a_row + 1 if used or self.goes_on(position) else 0
        self._used += used
        self._skipped += skipped
        if self._skipped > self._used:
            # Most of what was read ahead was in vain.
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
        """How many more runs are expected to be read while what is read now is fresh."""
        if not self.is_regular:
            return 0
        return int(min(most, neighbours.FRESH_SECONDS / 2 / max(self._seconds, 1e-6)))
