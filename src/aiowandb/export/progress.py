"""What an export has done so far, counted, and reported to whoever listens."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from aiowandb.export.events import ExportEvent, OnEvent, Progress
from aiowandb.net import Session, Traffic, Waiting, part_of
from aiowandb.tasks import task_group

_SECONDS_BETWEEN = 0.25


class Reporter:
    """Counts since the export began. Any of its threads may emit events."""

    def __init__(self, session: Session, on_event: OnEvent | None) -> None:
        self.rows = 0
        # What the export has caused: other work may go on in the same session.
        self.traffic = Traffic()
        self._session = session
        self._started = time.monotonic()
        self._on_event = on_event
        self._events = deque[ExportEvent]()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    def emit(self, event: ExportEvent) -> None:
        """Something has happened. It is reported when the event loop comes to it."""
        if self._on_event:
            self._events.append(event)

    def report(self) -> None:
        """In the event loop: report what has happened."""
        while self._on_event and self._events:
            self._on_event(self._events.popleft())

    @asynccontextmanager
    async def reporting(self) -> AsyncIterator[None]:
        """Report the progress now and then while the block runs, also when nothing moves."""
        waits = self._session.waits
        with part_of(self._session.traffic) as self.traffic, waits.listening(self.emit):
            async with task_group() as tasks:
                if self._on_event:
                    tasks.start_soon(self._report_often)
                yield
                tasks.cancel_scope.cancel()
        self.emit(self._progress())
        self.report()

    async def _report_often(self) -> None:
        last: Waiting | None = None
        while True:
            # Who is silent is no event of anybody's: it is seen by looking.
            waiting = self._session.waits.current
            if waiting and waiting.reason != (last and last.reason):
                self.emit(waiting)
            last = waiting
            self.emit(self._progress())
            self.report()
            await anyio.sleep(_SECONDS_BETWEEN)

    def _progress(self) -> Progress:
        traffic = self.traffic
        return Progress(
            rows=self.rows,
            seconds=self.seconds,
            received_bytes=traffic.received_bytes,
            requests=traffic.requests,
            downloads=traffic.downloads,
            refused=traffic.refused,
            throttled_until=self._session.traffic.throttled_until,
        )
