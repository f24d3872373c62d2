"""The progress of an export: live in a terminal, a line every few seconds, or JSON lines."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

import msgspec
from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task
from rich.progress import Progress as LiveDisplay
from rich.table import Column
from rich.text import Text

from aiowandb.export import (
    ExportEvent,
    OnEvent,
    Progress,
    RowsWanted,
    RunFailed,
    RunFinished,
    RunsFound,
    Waiting,
)

# A rate over this long follows changes without flickering.
_RATE_WINDOW_S = 5.0
SECONDS_BETWEEN_LINES = 5.0
_BAR_WIDTH = 20

# Rows arrive in bursts: over a shorter window, the estimate would jump with each of them.
_ESTIMATE_WINDOW_S = 30.0
# Before this time, and before this many bursts, there is no rate to extrapolate from.
_ESTIMATE_AFTER_S = 5.0
_ESTIMATE_AFTER_STEPS = 3
# How fast the estimate follows a changed rate.
_SMOOTHING_S = 8.0


@contextmanager
def show_progress() -> Iterator[OnEvent]:
    """Show progress on stderr, so that it works with any output on stdout."""
    console = Console(stderr=True, highlight=False)
    progress = ExportProgress()
    if not console.is_terminal:
        yield ProgressLines(progress, console).add
        return
    columns = BarColumn(_BAR_WIDTH), _StatusColumn(progress)
    with LiveDisplay(*columns, console=console, expand=True, transient=True) as display:
        task = display.add_task("", total=None)  # unknown while the runs are being listed

        def on_event(event: ExportEvent) -> None:
            progress.add(event)
            if progress.is_listed:
                display.update(task, total=1.0, completed=progress.fraction)

        yield on_event


def json_events(file: BinaryIO) -> OnEvent:
    """Write each event as a line of JSON, and flush it."""

    def write(event: ExportEvent) -> None:
        file.write(msgspec.json.encode(event) + b"\n")
        file.flush()

    return write


class ProgressLines:
    """Prints the status line every few seconds; a short export prints none."""

    def __init__(
        self,
        progress: ExportProgress,
        console: Console,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._progress = progress
        self._console = console
        self._clock = clock
        self._next = clock() + SECONDS_BETWEEN_LINES

    def add(self, event: ExportEvent) -> None:
        self._progress.add(event)
        if isinstance(event, Progress) and self._clock() >= self._next:
            self._next = self._clock() + SECONDS_BETWEEN_LINES
            self._console.print(self._progress.status_line, soft_wrap=True)


class _StatusColumn(ProgressColumn):
    """The status line. Drawn at each refresh: it counts down while no event comes."""

    def __init__(self, progress: ExportProgress) -> None:
        super().__init__(Column(ratio=1, overflow="fold"))
        self._progress = progress

    def render(self, task: Task) -> Text:  # noqa: ARG002 - rich's signature
        return Text(self._progress.status_line)


class ExportProgress:
    """What the events of an export add up to: how far it is, how fast, and how long it takes."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._found: int | None = None
        self._table = ""
        self._runs = self._finished = self._failed = 0
        self._rows_wanted = self._rows_before = 0
        self._latest = Progress(0, 0, 0, 0, 0, 0, 0)
        self._recent: deque[Progress] = deque([self._latest])
        self._estimate = TimeEstimate(0.0)
        self._waiting: Waiting | None = None

    def add(self, event: ExportEvent) -> None:
        """Take an event into account."""
        match event:
            case RunsFound(runs):
                self._found = runs
            case RowsWanted(table, runs, rows):
                self._table, self._runs, self._rows_wanted = table, runs, rows
                self._finished = self._failed = 0
                self._rows_before = self._latest.rows
                self._estimate = TimeEstimate(self._latest.seconds)
            case RunFinished(table) if table == self._table:
                self._finished += 1
            case RunFailed(table) if table == self._table:
                self._failed += 1
            case Waiting():
                self._waiting = event
            case Progress():
                if event.received_bytes > self._latest.received_bytes:
                    self._waiting = None
                self._latest = event
                self._estimate.add(event.seconds, self._fraction_done)
                self._recent.append(event)
                while event.seconds - self._recent[0].seconds > _RATE_WINDOW_S:
                    self._recent.popleft()

    @property
    def is_listed(self) -> bool:
        """Whether the list of runs is complete."""
        return self._found is not None

    @property
    def fraction(self) -> float:
        """How many of the wanted rows have arrived, from 0 to 1."""
        if not self._rows_wanted:
            return self._fraction_of_runs
        return min(1.0, (self._latest.rows - self._rows_before) / self._rows_wanted)

    @property
    def status_line(self) -> str:
        """The state of the export in one line."""
        if self._found is None:
            return ", ".join([f"listing runs, {self._latest.requests:,} requests", *self._wait])
        parts = [f"{self._table or 'runs'}: {self._finished:,} of {self._runs:,} runs"]
        if self._failed:
            parts.append(f"{self._failed:,} failed")
        parts += [
            f"{self._latest.rows:,} rows",
            f"{self._rate:,.0f} rows/s",
            f"{self._latest.received_bytes / 1e6:,.1f} MB",
            f"{self._latest.requests:,} requests",
        ]
        parts += self._wait
        if self._latest.refused and not self._wait:
            parts.append(f"{self._latest.refused:,} refused")
        left = self._estimate.seconds_left
        if left is not None and self._fraction_done < 1 and not self._waiting:
            parts.append(f"about {_duration(max(1.0, left))} left")
        return ", ".join(parts)

    @property
    def _wait(self) -> list[str]:
        """Which host does not answer, if one does not."""
        now = self._clock()
        if self._waiting and self._waiting.until > now:
            return [self._waiting.text(now)]
        wait = self._latest.throttled_until - now
        return [f"W&B asks to wait {math.ceil(wait)} s"] if wait > 0 else []

    @property
    def _fraction_done(self) -> float:
        """Halfway between rows and runs: the number of rows is a guess, that of runs is not."""
        if not self._rows_wanted or self._runs < 2:
            return self.fraction
        return (self.fraction + self._fraction_of_runs) / 2

    @property
    def _fraction_of_runs(self) -> float:
        return (self._finished + self._failed) / self._runs if self._runs else 0.0

    @property
    def _rate(self) -> float:
        first = self._recent[0]
        seconds = self._latest.seconds - first.seconds
        return (self._latest.rows - first.rows) / seconds if seconds else 0.0


class TimeEstimate:
    """Estimates the seconds left, from the fraction done at increasing times.

    Ours, as rich's own estimate follows each burst of rows: it jumps between seconds and minutes.
    """

    def __init__(self, now: float) -> None:
        self._started = now
        self._recent = deque([(now, 0.0)])
        self._steps = 0
        self._end: float | None = None

    def add(self, now: float, fraction: float) -> None:
        """Note how much is done at this time."""
        previous, last = self._recent[-1]
        self._steps += fraction > last
        self._recent.append((now, fraction))
        while len(self._recent) > 2 and now - self._recent[1][0] >= _ESTIMATE_WINDOW_S:
            self._recent.popleft()
        since, old = self._recent[0]
        if now - self._started < _ESTIMATE_AFTER_S or self._steps < _ESTIMATE_AFTER_STEPS:
            return
        if fraction <= old:
            self._end = None  # no progress in the window: no estimate
            return
        end = now + (1 - fraction) * (now - since) / (fraction - old)
        if self._end is None:
            self._end = end
        else:
            self._end += (end - self._end) * -math.expm1((previous - now) / _SMOOTHING_S)

    @property
    def seconds_left(self) -> float | None:
        """Seconds left after the latest `add`, or None while there is no estimate."""
        return None if self._end is None else max(0.0, self._end - self._recent[-1][0])


def _duration(seconds: float) -> str:
    """A duration in the unit that suits it.

    >>> _duration(42), _duration(300), _duration(7500)
    ('42 s', '5 min', '2.1 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
