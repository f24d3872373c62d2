"""What an export knows of its rows: which run lies in which part, and as of when."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from aiowandb.wire.record import RunRecord

# W&B does not say how many system metrics a run has; this is how often they are taken.
_SECONDS_A_METRIC = 15


class Listed(msgspec.Struct, frozen=True):
    """A run as a listing tells of it: of equal ones, everything is the same.

    Where steps say nothing, as of system metrics and files, the second of the last sign
    of life stands for the last step.
    """

    run: str
    storage_id: str
    lines: int | None
    last_step: int

    @classmethod
    def of_history(cls, run: RunRecord) -> Listed:
        return cls(run.id, run.storage_id, run.history_line_count, run.last_step)

    @classmethod
    def of_life(cls, run: RunRecord) -> Listed:
        if not run.heartbeat_at or not run.created_at:
            return cls(run.id, run.storage_id, None, -1)
        lived = (run.heartbeat_at - run.created_at).total_seconds()
        lines = max(0, int(lived / _SECONDS_A_METRIC))
        return cls(run.id, run.storage_id, lines, int(run.heartbeat_at.timestamp()))

    @property
    def weight(self) -> int:
        """About how many rows it has."""
        return self.last_step + 1 if self.lines is None else self.lines

    @property
    def is_empty(self) -> bool:
        return self.lines == 0 and self.last_step < 0

    def continues(self, earlier: Listed) -> bool:
        """Whether this run only has more rows than before, behind the others."""
        if (self.storage_id, self.lines is None) != (earlier.storage_id, earlier.lines is None):
            return False
        return self.last_step > earlier.last_step and (self.lines or 0) >= (earlier.lines or 0)


class Held(msgspec.Struct, frozen=True):
    """The rows of one run in a part.

    `listed` is how the run was listed before they were read. `last_step` and `last_time`
    are those of the last row: by them a run is recognised that was rewound and has gone
    on differently since.
    """

    listed: Listed
    rows: int = 0
    last_step: int = -1
    last_time: float | None = None


class Part(msgspec.Struct, frozen=True):
    """A committed file of rows, run after run, each run's in step order.

    `schema` counts how often the columns had changed when it was written. `number` is never
    used again; a file name may be, by a part that replaces this one.
    """

    number: int
    file: str
    schema: int
    size: int
    runs: tuple[Held, ...]

    @property
    def rows(self) -> int:
        return sum(held.rows for held in self.runs)

    @property
    def weight(self) -> int:
        return sum(held.listed.weight for held in self.runs)


class Place(msgspec.Struct, frozen=True):
    """Where the rows of a run lie: in this part, from the row `offset` on."""

    part: Part
    offset: int
    held: Held


def places(parts: Iterable[Part]) -> dict[str, Place]:
    """Where each run lies; if in two parts, then in the one that was written later."""
    found = {}
    for part in sorted(parts, key=lambda part: part.number):
        offset = 0
        for held in part.runs:
            found[held.listed.run] = Place(part, offset, held)
            offset += held.rows
    return found
