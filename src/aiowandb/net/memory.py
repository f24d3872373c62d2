"""A budget of memory that all rows in flight share: those of runs that are read side by side.

Runs are read in queues, one queue a call: the rows of its first run are being waited for, and those
of the others are read ahead. These wait while the budget is used up. The first one never waits, so
that there is always one that can go on; a part of the budget is kept for it.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

import anyio

# The parts of the budget: what a batch of rows may take, what a response may, and what all that is
# read ahead may. The rest is for what the first runs take beyond, and for copies: JSON rows are a
# response, then texts, then values, then columns.
_BATCH, _RESPONSE, _AHEAD = 1 / 32, 1 / 16, 1 / 4
# As many runs are begun beside the first one before it is known how large a page is.
_RUNS_AT_FIRST = 4
_LEAST_BATCH = 1 << 16


class MemoryBudget:
    """How many bytes the rows in flight may take together, in one session."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.used = 0
        self._changed: anyio.Event | None = None

    @property
    def batch_bytes(self) -> int:
        """About how many bytes a batch of rows may have, unless a single row has more."""
        return max(_LEAST_BATCH, int(self.total * _BATCH))

    @property
    def response_bytes(self) -> int:
        """How many bytes a response with rows may have."""
        return max(_LEAST_BATCH, int(self.total * _RESPONSE))

    @property
    def reader_bytes(self) -> int:
        """How many bytes a reader of columns may take, besides their values."""
        return self.total // 2

    @property
    def footer_bytes(self) -> int:
        """How long the footer of a Parquet file may be: parsed, it takes up to 16 times as much."""
        return max(_LEAST_BATCH, self.total // 32)

    def has_room(self, size: int) -> bool:
        return self.used + size <= self.total * _AHEAD

    def change(self, by: int) -> None:
        """Take note of memory that is used, or not any more."""
        self.used += by
        self.wake()

    def wake(self) -> None:
        """Let those that wait look again whether they may go on."""
        if self._changed:
            self._changed.set()
            self._changed = None

    async def changed(self) -> None:
        """Wait until memory is freed, or another run becomes the first one."""
        if self._changed is None:
            self._changed = anyio.Event()
        await self._changed.wait()


class MemoryQueue:
    """Runs that are read ahead in an order: the first of them is being waited for."""

    def __init__(self, budget: MemoryBudget) -> None:
        self.budget = budget
        # The largest page so far, of any of the runs; None before the first one.
        self.largest: int | None = None
        self._shares: dict[Share, None] = {}

    def join(self) -> Share:
        """A share of the budget for one run, behind those of the others."""
        share = Share(self)
        self._shares[share] = None
        return share

    def is_first(self, share: Share) -> bool:
        return next(iter(self._shares), None) is share

    def leave(self, share: Share) -> None:
        self._shares.pop(share, None)


class Share:
    """The memory of one run; to be left when the run has been read."""

    def __init__(self, queue: MemoryQueue) -> None:
        self.size = 0
        self._queue = queue

    @property
    def batch_bytes(self) -> int:
        return self._queue.budget.batch_bytes

    @property
    def expected(self) -> int:
        """How large the next page may be, by those before."""
        largest, budget = self._queue.largest, self._queue.budget
        return int(budget.total * _AHEAD / _RUNS_AT_FIRST) if largest is None else largest

    @expected.setter
    def expected(self, size: int) -> None:
        if self._queue.largest is None:
            self._queue.budget.wake()
        self._queue.largest = max(self._queue.largest or 0, size)

    async def reserve(self, beside: int) -> None:
        """Take as much memory as the next page may need, besides what is in use."""
        budget = self._queue.budget
        # What is expected changes while this waits.
        while not self._may_have(beside + self.expected):
            await budget.changed()
        await self.resize(beside + self.expected)

    async def resize(self, size: int) -> None:
        """Take so much memory in all, as soon as there is room."""
        budget = self._queue.budget
        while not self._may_have(size):
            await budget.changed()
        by, self.size = size - self.size, size
        budget.change(by)

    def _may_have(self, size: int) -> bool:
        more = size - self.size
        return more <= 0 or self._queue.is_first(self) or self._queue.budget.has_room(more)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._queue.leave(self)
        self._queue.budget.change(-self.size)
        self.size = 0
