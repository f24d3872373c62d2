"""What the events of an export amount to: how far it is, how fast, and when it may be done."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable

from aiowandb.cli.eta import Estimate
from aiowandb.export import (
    ExportEvent,
    Progress,
    RowsWanted,
    RunFailed,
    RunFinished,
    RunsFound,
    Waiting,
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
        self._estimate = Estimate(0.0)
        self._waiting: Waiting | None = None

    def add(self, event: ExportEvent) -> None:
        """Take note of what has happened."""
        match event:
            case RunsFound(runs):
                self._found = runs
            case RowsWanted(table, runs, rows):
                self._table, self._runs, self._rows_wanted = table, runs, rows
                self._finished = self._failed = 0
                self._rows_before = self._now.rows
                self._estimate = Estimate(self._now.seconds)
            case RunFinished(table) if table == self._table:
                self._finished += 1
            case RunFailed(table) if table == self._table:
                self._failed += 1
            case Waiting():
                self._waiting = event
            case Progress():
                if event.received_bytes > self._now.received_bytes:
                    self._waiting = None
                self._now = event
                self._estimate.add(event.seconds, self._done)
                self._recent.append(event)
                while event.seconds - self._recent[0].seconds > _SECONDS_OF_RATE:
                    self._recent.popleft()

    @property
    def share(self) -> float:
        """How much of what is wanted has come, from 0 to 1."""
        return min(1.0, self._came / self._rows_wanted) if self._rows_wanted else self._runs_share

    @property
    def words(self) -> str:
        """Where it is, in one line."""
        if self._found is None:
            return ", ".join([f"listing runs, {self._now.requests:,} requests", *self._wait])
        parts = [f"{self._table or 'runs'}: {self._finished:,} of {self._runs:,} runs"]
        if self._failed:
            parts.append(f"{self._failed:,} failed")
        parts += [
            f"{self._now.rows:,} rows",
            f"{self._rate:,.0f} rows/s",
            f"{self._now.received_bytes / 1e6:,.1f} MB",
            f"{self._now.requests:,} requests",
        ]
        parts += self._wait
        if self._now.refused and not self._wait:
            parts.append(f"{self._now.refused:,} refused")
        if (left := self._estimate.left) is not None and self._done < 1 and not self._waiting:
            parts.append(f"about {_long(max(1.0, left))} left")
        return ", ".join(parts)

    @property
    def _wait(self) -> list[str]:
        """Who keeps us waiting, if somebody does."""
        now = self._clock()
        if self._waiting and self._waiting.until > now:
            return [self._waiting.text(now)]
        wait = self._now.throttled_until - now
        return [f"W&B asks to wait {math.ceil(wait)} s"] if wait > 0 else []

    @property
    def _done(self) -> float:
        """The share that is done. How many rows there will be is a guess, the runs are not."""
        if not self._rows_wanted or self._runs < 2:
            return self.share
        return (self.share + self._runs_share) / 2

    @property
    def _runs_share(self) -> float:
        return (self._finished + self._failed) / self._runs if self._runs else 0.0

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
