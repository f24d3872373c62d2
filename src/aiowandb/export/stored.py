"""What an export has: which rows of which run, in which file, and as of when.

These records exist for each run of a project. They have no reference cycles, and the garbage
collector does not track them: otherwise its pauses would grow with the number of runs.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from aiowandb.export.folders.base import InnerName
from aiowandb.history.reading import RowMark, Start
from aiowandb.wire.record import RunRecord

# W&B does not say how many system metrics a run has; this is how often they are logged.
_SECONDS_PER_METRIC = 15
ROUNDED = "integers beyond 2^53 were rounded to floats; the long layout keeps them as they are"


class RunSnapshot(msgspec.Struct, frozen=True, gc=False):
    """The state of a run when it was listed.

    Where steps do not matter, as for system metrics and files, the second of the last
    heartbeat stands for the last step.
    """

    run: str
    storage_id: str
    lines: int | None
    last_step: int
    # As a Unix time. Exports of old versions did not record it.
    heartbeat: float | None = None

    @classmethod
    def from_history(cls, run: RunRecord) -> RunSnapshot:
        heartbeat = run.heartbeat_at.timestamp() if run.heartbeat_at else None
        return cls(run.id, run.storage_id, run.history_line_count, run.last_step, heartbeat)

    @classmethod
    def from_heartbeat(cls, run: RunRecord) -> RunSnapshot:
        if not run.heartbeat_at or not run.created_at:
            return cls(run.id, run.storage_id, None, -1)
        lived = (run.heartbeat_at - run.created_at).total_seconds()
        lines = max(0, int(lived / _SECONDS_PER_METRIC))
        return cls(run.id, run.storage_id, lines, int(run.heartbeat_at.timestamp()))

    @property
    def estimated_rows(self) -> int:
        return self.last_step + 1 if self.lines is None else self.lines

    @property
    def is_empty(self) -> bool:
        return self.lines == 0 and self.last_step < 0

    def equals(self, earlier: RunSnapshot) -> bool:
        """Whether the run has not changed since."""
        if earlier.heartbeat is None:
            earlier = msgspec.structs.replace(earlier, heartbeat=self.heartbeat)
        return self == earlier

    def may_extend(self, earlier: RunSnapshot) -> bool:
        """Whether the run may have the same rows as before, and more after them.

        If it was rewound in between and then logged other rows, only the rows can tell.
        """
        if (self.storage_id, self.lines is None) != (earlier.storage_id, earlier.lines is None):
            return False
        if self.last_step == earlier.last_step:
            return self.lines == earlier.lines
        return self.last_step > earlier.last_step and (
            self.lines is None or self.lines > (earlier.lines or 0)
        )


class StoredRun(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The rows of one run in a part.

    `snapshot` is the run as it was listed before they were read. `rows_read` is how many rows
    were read, selected or not, and `last` the mark of the last one. `rounded` says that there
    were integers beyond 2^53 that the floats of their column do not have.
    """

    snapshot: RunSnapshot = msgspec.field(name="listed")
    rows: int = 0
    rows_read: int | None = None
    last: RowMark | None = None
    rounded: bool = False

    @property
    def end(self) -> Start | None:
        """Where to continue: at the last row, to verify that it is the same; None if unknown."""
        if self.last is None or not self.rows_read:
            return None
        return Start(self.last.step, self.rows_read - 1)


class Part(msgspec.Struct, frozen=True):
    """A committed file of rows, run after run, the rows of each run in step order.

    `schema` is the version of the columns that it was written with. `number` is never reused;
    the file name may be, by a part that replaces this one.
    """

    number: int
    file: InnerName
    schema: int
    size: int
    runs: tuple[StoredRun, ...]

    @property
    def rows(self) -> int:
        return sum(stored.rows for stored in self.runs)

    @property
    def estimated_rows(self) -> int:
        return sum(stored.snapshot.estimated_rows for stored in self.runs)


class RowRange(msgspec.Struct, frozen=True, gc=False):
    """The rows of a run within a part, from row `offset` on."""

    part: Part
    offset: int
    stored: StoredRun


class StagedRun(msgspec.Struct, frozen=True, gc=False):
    """The rows of a run whose part is not complete yet: `size` bytes of a file."""

    stored: StoredRun
    file: InnerName
    start: int
    size: int
    checksum: int


def locate_runs(parts: Iterable[Part]) -> dict[str, RowRange]:
    """Where the rows of each run are; if in two parts, in the one that was written later."""
    found = {}
    for part in sorted(parts, key=lambda part: part.number):
        offset = 0
        for stored in part.runs:
            found[stored.snapshot.run] = RowRange(part, offset, stored)
            offset += stored.rows
    return found
