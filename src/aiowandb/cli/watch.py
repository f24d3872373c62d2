"""Says on stderr, now and then, that a command is waiting, and for whom."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

import click

if TYPE_CHECKING:
    from aiowandb.net import Waiting

# Who waits no longer than this does not begin to wonder.
_PATIENCE_S = 5.0
_SECONDS_BETWEEN_LINES = 10.0
_LOOK_S = 0.5


def watch(waiting: Callable[[], Waiting | None]) -> None:
    """While the command runs, tell of waits that are longer than usual."""
    context = click.get_current_context(silent=True)
    if context is None:
        return
    stop = threading.Event()
    # A thread of its own: a command may block the event loop, or have none.
    thread = threading.Thread(target=_look, args=(waiting, Lines(sys.stderr), stop), daemon=True)
    thread.start()

    def end() -> None:
        stop.set()
        thread.join()

    context.call_on_close(end)


def _look(waiting: Callable[[], Waiting | None], lines: Lines, stop: threading.Event) -> None:
    while not stop.wait(_LOOK_S):
        lines.add(waiting())


class Lines:
    """A line after some seconds of silence, then one every few seconds while it lasts."""

    def __init__(self, file: TextIO, clock: Callable[[], float] = time.time) -> None:
        self._file = file
        self._clock = clock
        self._next = 0.0

    def add(self, waiting: Waiting | None) -> None:
        now = self._clock()
        if waiting and now - waiting.since >= _PATIENCE_S and now >= self._next:
            self._next = now + _SECONDS_BETWEEN_LINES
            self._file.write(f"waiting: {waiting.text(now)}\n")
            self._file.flush()
