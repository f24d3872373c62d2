"""What the events of an export amount to: how far it is, how fast, and when it may be done."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable

from aiowandb.export import (
    ExportEvent,
    Progress,
    RowsWanted,
    RunFailed,
    RunFinished,
    RunsFound,
)

# A rate over so long follows changes and does not flicker.
_SECONDS_OF_RATE = 5.0


class Course:
    """The course of an export, in numbers and in words."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._found: int | None = None
        self._table = ""
        self._runs = self._finished = self._failed = 0
        self._rows_wanted = self._rows_before = 0
        self._now = Progress(0, 0, 0, 0, 0, 0, 0)
        self._recent: deque[Progress] = deque([self._now])

    def add(self, event: ExportEvent) -> None:
        """Take note of what has happened."""
        match event:
            case RunsFound(runs):
                self._found = runs
            case RowsWanted(table, runs, rows):
                self._table, self._runs, self._rows_wanted = table, runs, rows
                self._finished = self._failed = 0
                self._rows_before = self._now.rows
            case RunFinished():
                self._finished += 1
            case RunFailed():
                self._failed += 1
            case Progress():
                self._now = event
                self._recent.append(event)
                while event.seconds - self._recent[0].seconds > _SECONDS_OF_RATE:
                    self._recent.popleft()

    @property
    def share(self) -> float:
        """How much of what is wanted has come, from 0 to 1."""
        return min(1.0, self._came / self._rows_wanted) if self._rows_wanted else 0.0

    @property
    def words(self) -> str:
        """Where it is, in one line."""
        if self._found is None:
            return f"listing runs, {self._now.requests:,} requests"
        parts = [f"{self._table or 'runs'}: {self._finished:,} of {self._runs:,} runs"]
        if self._failed:
            parts.append(f"{self._failed:,} failed")
        parts += [
            f"{self._now.rows:,} rows",
            f"{self._rate:,.0f} rows/s",
            f"{self._now.received_bytes / 1e6:,.1f} MB",
            f"{self._now.requests:,} requests",
        ]
        wait = self._now.throttled_until - self._clock()
        if wait > 0:
            parts.append(f"W&B asks to wait {math.ceil(wait)} s")
        elif self._now.refused:
            parts.append(f"{self._now.refused:,} refused")
        if self._rate and self._came < self._rows_wanted:
            parts.append(f"about {_long((self._rows_wanted - self._came) / self._rate)} left")
        return ", ".join(parts)

    @property
    def _came(self) -> int:
        return self._now.rows - self._rows_before

    @property
    def _rate(self) -> float:
        first = self._recent[0]
        seconds = self._now.seconds - first.seconds
        return (self._now.rows - first.rows) / seconds if seconds else 0.0


def _long(seconds: float) -> str:
    """The time in the unit that people would say it in.

    >>> _long(42), _long(300), _long(7500)
    ('42 s', '5 min', '2.1 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
