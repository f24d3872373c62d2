"""What exports report: events while they run, and the results at the end."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias

import anyio
import msgspec

from aiowandb.concurrency.tasks import task_group
from aiowandb.errors import AiowandbError
from aiowandb.export.export_plan import ExportPlan
from aiowandb.net import Session, Traffic, Waiting, part_of


class _Event(msgspec.Struct, frozen=True, tag_field="event"):
    """An event of an export."""


class RunsFound(_Event, frozen=True, tag="runs_found"):
    """The list of runs is complete."""

    runs: int


class RowsWanted(_Event, frozen=True, tag="rows_wanted"):
    """How many runs have rows to fetch, and about how many rows those are.

    For the tables `files` and `artifacts`, how many runs have changed; rows are not counted.
    """

    table: str
    runs: int
    rows: int


class RunStarted(_Event, frozen=True, tag="run_started"):
    """The rows of a run are being written."""

    table: str
    run: str


class RunFinished(_Event, frozen=True, tag="run_finished"):
    """All rows of a run are written; `rows` includes those that were exported before."""

    table: str
    run: str
    rows: int


class RunFailed(_Event, frozen=True, tag="run_failed"):
    """A run could not be exported this time."""

    table: str
    run: str
    error: str


class FileFinished(_Event, frozen=True, tag="file_finished"):
    """A file is complete. It is published once the files that it replaces can be dropped."""

    file: str
    rows: int
    bytes: int


class Progress(_Event, frozen=True, tag="progress"):
    """Totals since the export began, reported several times a second.

    No request is sent before `throttled_until`, as in `time.time()`.
    """

    seconds: float
    rows: int
    received_bytes: int
    requests: int
    downloads: int
    refused: int
    throttled_until: float


ExportEvent = (
    RunsFound
    | RowsWanted
    | RunStarted
    | RunFinished
    | RunFailed
    | FileFinished
    | Progress
    | Waiting
)

# Called in the thread of the event loop, which is blocked meanwhile.
OnEvent = Callable[[ExportEvent], None]


class RunFailure(msgspec.Struct, frozen=True):
    """A run that could not be exported completely. The next export tries it again."""

    run: str
    error: AiowandbError


class Clash(msgspec.Struct, frozen=True):
    """A column whose values are of different kinds, and therefore kept as JSON text."""

    column: str
    values: int


class ExportResult(msgspec.Struct, frozen=True, kw_only=True):
    """What was exported, and what it cost. `requests` are those that W&B's limits count;
    other requests of the session are not included.

    `deleted` are runs that are kept although they were deleted at W&B. `unknown_keys` are keys
    that were named and that none of the runs has. `read_as_json` are runs whose Parquet files
    could not be fetched, so that their rows were read as JSON.
    """

    runs: int
    rows: int
    requests: int
    downloads: int
    received_bytes: int
    written_bytes: int
    seconds: float
    files: tuple[Path | str, ...]
    failed: tuple[RunFailure, ...] = ()
    clashes: tuple[Clash, ...] = ()
    deleted: tuple[str, ...] = ()
    unknown_keys: tuple[str, ...] = ()
    read_as_json: tuple[str, ...] = ()


class ProjectExport(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one project: the result, or the plan, or the error that ended its export.

    An error concerns this project only: the others are exported. If W&B stops answering, the
    projects that were not begun have that error, too. The next export resumes them.
    """

    project: str
    folder: Path | str
    result: ExportResult | None = None
    plan: ExportPlan | None = None
    error: AiowandbError | OSError | None = None

    @property
    def is_complete(self) -> bool:
        """Whether all runs of the project were exported, or planned."""
        if self.error is not None:
            return False
        return self.result is None or not self.result.failed


# Called with the project's path and its events; the last one is its `ProjectExport`.
OnProjectEvent: TypeAlias = Callable[[str, ExportEvent | ProjectExport], None]


_REPORT_EVERY_S = 0.25


class Reporter:
    """Collects events and counts of an export, from any thread, and reports them to `on_event`."""

    def __init__(self, session: Session, on_event: OnEvent | None) -> None:
        self.rows = 0
        # Of this export only: the session may do other work at the same time.
        self.traffic = Traffic()
        self._session = session
        self._started = time.monotonic()
        self._on_event = on_event
        self._events = deque[ExportEvent]()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    def emit(self, event: ExportEvent) -> None:
        """Queue an event; the event loop reports it."""
        if self._on_event:
            self._events.append(event)

    def report(self) -> None:
        """In the event loop: report the queued events."""
        while self._on_event and self._events:
            self._on_event(self._events.popleft())

    @asynccontextmanager
    async def reporting(self) -> AsyncIterator[None]:
        """Report the progress regularly while the block runs, even if nothing changes."""
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
            # Waiting for a response is not an event: it must be polled.
            waiting = self._session.waits.current
            if waiting and waiting.reason != (last and last.reason):
                self.emit(waiting)
            last = waiting
            self.emit(self._progress())
            self.report()
            await anyio.sleep(_REPORT_EVERY_S)

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
