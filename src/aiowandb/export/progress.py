"""What an export has done so far and in the end: events, counts and the result."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import msgspec

from aiowandb.concurrency.tasks import task_group
from aiowandb.errors import AiowandbError
from aiowandb.net import Session, Traffic, Waiting, part_of


class _Event(msgspec.Struct, frozen=True, tag_field="event"):
    """Something that has happened."""


class RunsFound(_Event, frozen=True, tag="runs_found"):
    """The list of runs is complete."""

    runs: int


class RowsWanted(_Event, frozen=True, tag="rows_wanted"):
    """How many runs have rows that are not here yet, and about how many rows they have.

    For the tables `files` and `artifacts`: how many runs have news; rows are not counted.
    """

    table: str
    runs: int
    rows: int


class RunStarted(_Event, frozen=True, tag="run_started"):
    """The rows of a run are being written."""

    table: str
    run: str


class RunFinished(_Event, frozen=True, tag="run_finished"):
    """All rows of a run are written; so many with those that were here before."""

    table: str
    run: str
    rows: int


class RunFailed(_Event, frozen=True, tag="run_failed"):
    """The rows of a run could not be had this time."""

    table: str
    run: str
    error: str


class FileFinished(_Event, frozen=True, tag="file_finished"):
    """A file is whole. It is shown when those that it replaces can go."""

    file: str
    rows: int
    bytes: int


class Progress(_Event, frozen=True, tag="progress"):
    """Rows that came, and what they cost, since the export began; told several times a second.

    W&B is not asked again before `throttled_until`, as `time.time()`.
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

# Called in the thread of the event loop, which waits for it.
OnEvent = Callable[[ExportEvent], None]


class RunFailure(msgspec.Struct, frozen=True):
    """A run of which something could not be had. The next export tries it again."""

    run: str
    error: AiowandbError


class Clash(msgspec.Struct, frozen=True):
    """A column whose values have no kind in common, and are JSON texts therefore."""

    column: str
    values: int


class ExportResult(msgspec.Struct, frozen=True, kw_only=True):
    """What there is now, and what it cost. `requests` are those that W&B's limits count;
    what else the session did meanwhile is not in the numbers.

    `deleted` are runs that are kept although W&B has them no more. `unknown_keys` are keys that
    were named, and that none of the runs has.
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
