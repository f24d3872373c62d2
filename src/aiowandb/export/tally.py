"""What an export has done so far, counted, and told to whoever listens."""

from __future__ import annotations

import copy
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from aiowandb.export.events import ExportEvent, OnEvent, Progress
from aiowandb.net import Session, Traffic
from aiowandb.tasks import task_group

_SECONDS_BETWEEN = 0.25


class Tally:
    """Counts since the export began."""

    def __init__(self, session: Session, on_event: OnEvent | None) -> None:
        self.rows = 0
        self._session = session
        self._before = copy.copy(session.traffic)
        self._started = time.monotonic()
        self._on_event = on_event

    @property
    def traffic(self) -> Traffic:
        return self._session.traffic.since(self._before)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    def tell(self, event: ExportEvent) -> None:
        """Something has happened."""
        if self._on_event:
            self._on_event(event)

    @asynccontextmanager
    async def ticking(self) -> AsyncIterator[None]:
        """Tell of the progress now and then while the block runs, also when nothing moves."""
        async with task_group() as tasks:
            if self._on_event:
                tasks.start_soon(self._tick)
            yield
            tasks.cancel_scope.cancel()
        self.tell(self._progress())

    async def _tick(self) -> None:
        while True:
            self.tell(self._progress())
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
            throttled_until=traffic.throttled_until,
        )
