"""Reports on stderr which host a command is waiting for, if that takes longer than usual."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

import click

if TYPE_CHECKING:
    from aiowandb.net import Waiting

# Shorter waits are not worth a line.
FIRST_LINE_AFTER_S = 5.0
_SECONDS_BETWEEN_LINES = 10.0
POLL_S = 0.5


def report_waits(waiting: Callable[[], Waiting | None]) -> None:
    """Until the current command ends, report waits that are longer than usual."""
    context = click.get_current_context(silent=True)
    if context is None:
        return
    stop = threading.Event()
    # In a thread: a command may block the event loop, or have none.
    thread = threading.Thread(
        target=_poll, args=(waiting, WaitLines(sys.stderr), stop), daemon=True
    )
    thread.start()

    def end() -> None:
        stop.set()
        thread.join()

    context.call_on_close(end)


def _poll(waiting: Callable[[], Waiting | None], lines: WaitLines, stop: threading.Event) -> None:
    while not stop.wait(POLL_S):
        lines.add(waiting())


class WaitLines:
    """Prints a line after some seconds of silence, then one every few seconds while it lasts."""

    def __init__(self, file: TextIO, clock: Callable[[], float] = time.time) -> None:
        self._file = file
        self._clock = clock
        self._next = 0.0

    def add(self, waiting: Waiting | None) -> None:
        now = self._clock()
        if waiting and now - waiting.since >= FIRST_LINE_AFTER_S and now >= self._next:
            self._next = now + _SECONDS_BETWEEN_LINES
            self._file.write(f"waiting: {waiting.text(now)}\n")
            self._file.flush()
