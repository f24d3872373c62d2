"""What an export tells of while it is under way: typed, and ready to be JSON."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from aiowandb.net import Waiting


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
