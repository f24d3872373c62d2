"""Shows the course of an export: live in a terminal, in a line now and then, as JSON, or not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

import msgspec
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from aiowandb.cli.course import Course
from aiowandb.export import ExportEvent, OnEvent, Progress

_SECONDS_BETWEEN_LINES = 5.0
_BAR = 40


@contextmanager
def shown() -> Iterator[OnEvent]:
    """Show it to a person, on stderr, so that it can go with any output."""
    console = Console(stderr=True, highlight=False)
    course = Course()
    if not console.is_terminal:
        yield Lines(course, console).add
        return
    with Live(_Drawn(course), console=console, refresh_per_second=8, transient=True):
        yield course.add


def as_json(file: BinaryIO) -> OnEvent:
    """Write each event as a line of JSON, at once."""

    def write(event: ExportEvent) -> None:
        file.write(msgspec.json.encode(event) + b"\n")
        file.flush()

    return write


class Lines:
    """A line every few seconds, and none for what is over sooner."""

    def __init__(
        self, course: Course, console: Console, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._course = course
        self._console = console
        self._clock = clock
        self._next = clock() + _SECONDS_BETWEEN_LINES

    def add(self, event: ExportEvent) -> None:
        self._course.add(event)
        if isinstance(event, Progress) and self._clock() >= self._next:
            self._next = self._clock() + _SECONDS_BETWEEN_LINES
            self._console.print(self._course.words, soft_wrap=True)


class _Drawn:
    def __init__(self, course: Course) -> None:
        self._course = course

    def __rich__(self) -> Table:
        drawn = Table.grid()
        drawn.add_row(ProgressBar(total=1.0, completed=self._course.share, width=_BAR))
        drawn.add_row(Text(self._course.words))
        return drawn
