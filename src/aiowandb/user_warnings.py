"""Warnings with the line of the user's call as their location.

Often that line is not on the stack: the warning comes from a task that reads ahead, or from the
event loop in the thread of the synchronous client. There, warnings are collected, and shown where
the caller waits for the result.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from aiowandb.errors import AiowandbWarning


class CollectedWarnings:
    """Collects warnings until they can be shown at the caller's line.

    Wrap the work with `collecting()`, in its task, and call `show()` where its result is used.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[str, type[Warning]]] = []

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Collect the warnings of this task and of the tasks that it starts."""
        token = _collected.set(self)
        try:
            yield
        finally:
            _collected.reset(token)

    def add(self, message: str, category: type[Warning]) -> None:
        self._waiting.append((message, category))

    def show(self) -> None:
        """Show the warnings that were collected so far, at this line."""
        while self._waiting:
            warn(*self._waiting.pop(0))


_collected: ContextVar[CollectedWarnings | None] = ContextVar("_collected", default=None)


def warn(message: str, category: type[Warning] = AiowandbWarning) -> None:
    """Warn the user, at the line that calls aiowandb."""
    if collected := _collected.get():
        collected.add(message, category)
        return
    level, frame = 1, inspect.currentframe()
    while frame and frame.f_back and _is_ours(frame.f_globals.get("__name__", "")):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] == "aiowandb"
