"""Compacts the histories of runs that have ended, while nothing is written.

Compacting is work for the processor that nobody waits for: while a copy sends many runs, that of
each run that has ended would slow down the next ones. So it begins when no write has come for a
moment, or at the latest `MAX_WAIT_S` after the end of the run. Who asks for the Parquet files of
a run before has it compacted at once. A store that is closed leaves the rest to such readers.
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import anyio
from starlette.responses import Response

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aiowandb_server.budget import Budget
    from aiowandb_server.store.records import RunRow

logger = logging.getLogger("aiowandb_server")
# Between two requests of a copy there is less, also over a slow network.
QUIET_S = 1.0
MAX_WAIT_S = 60.0


@dataclass(frozen=True, slots=True)
class EndedRun:
    """A run to compact: its id in the store, its path for messages, and who has ended it."""

    id: int
    path: str
    user: int
    at: float


class Backlog:
    """The runs that wait, the first that has ended first, and when the next one may begin."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._runs: dict[int, EndedRun] = {}
        self._writes = 0
        self._last_write = clock()

    def __len__(self) -> int:
        return len(self._runs)

    def add(self, run: RunRow, user: int) -> None:
        path = f"{run.entity}/{run.project}/{run.name}"
        self._runs.setdefault(run.id, EndedRun(run.id, path, user, self._clock()))

    def write_begins(self) -> None:
        self._writes += 1

    def write_ends(self) -> None:
        self._writes -= 1
        self._last_write = self._clock()

    def take(self) -> EndedRun | float:
        """The next run, or after how many seconds to look again: there must be one."""
        now = self._clock()
        first = next(iter(self._runs.values()))
        quiet = QUIET_S if self._writes else self._last_write + QUIET_S - now
        left = min(quiet, first.at + MAX_WAIT_S - now)
        return self._runs.pop(first.id) if left <= 0 else left


class IdleCompaction:
    """Compacts in a thread of its own, which is there only while runs wait."""

    def __init__(
        self, compact: Callable[[int], None], budget: Budget, backlog: Backlog | None = None
    ) -> None:
        self._compact = compact
        self._budget = budget
        self._backlog = backlog or Backlog()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_closed = False

    @contextmanager
    def writing(self) -> Iterator[None]:
        """A request that writes."""
        with self._changed:
            self._backlog.write_begins()
        try:
            yield
        finally:
            with self._changed:
                self._backlog.write_ends()

    def add(self, run: RunRow, user: int) -> None:
        """Compact the run later."""
        with self._changed:
            if self._is_closed:
                return
            self._backlog.add(run, user)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, daemon=True, name="compaction")
                # A thread that the interpreter ends in the middle of Arrow would abort the process.
                atexit.register(self.close)
                self._thread.start()

    def close(self) -> None:
        """Wait for the run that is being compacted, and begin no other."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join()

    def _work(self) -> None:
        while (run := self._next()) is not None:
            try:
                anyio.run(self._budget.run, run.user, 0, partial(self._compacted, run))
            except Exception:
                logger.exception("compacting %s could not begin", run.path)

    def _next(self) -> EndedRun | None:
        with self._changed:
            while self._backlog and not self._is_closed:
                found = self._backlog.take()
                if isinstance(found, EndedRun):
                    return found
                self._changed.wait(found)
            self._thread = None
            atexit.unregister(self.close)
            return None

    def _compacted(self, run: EndedRun) -> Response:
        try:
            self._compact(run.id)
        except Exception:
            # Nothing is lost: the rows stay in SQLite, and the next reader tries again.
            logger.exception("compacting %s failed", run.path)
        return Response()
