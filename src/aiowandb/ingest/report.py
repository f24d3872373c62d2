"""What a copy did, or would do: by run and by kind, with what could not be carried and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Literal, TypeAlias

import msgspec

Status = Literal["created", "updated", "unchanged", "skipped", "failed"]
# Seconds a request of a copy takes at W&B, about, and bytes a second that it takes in.
_SECONDS_A_REQUEST = 0.15
_REQUESTS_AT_ONCE = 8
_BYTES_A_SECOND = 10e6


class Difference(msgspec.Struct, frozen=True):
    """Something that is not the same on both sides. `where` says of which run and what of it."""

    run: str
    where: str
    source: str
    target: str

    def __str__(self) -> str:
        return f"{self.run}: {self.where}: {self.source} in the source, {self.target} in the target"


class CopiedRun(msgspec.Struct, kw_only=True):
    """What became of one run.

    `carried` counts, by kind: rows, system metrics, console lines, files, bytes. `changed` says
    what is not as it was, `dropped` what is not there, each with the reason.
    """

    run: str
    target: str
    status: Status = "unchanged"
    carried: dict[str, int] = {}
    changed: list[str] = []
    dropped: list[str] = []
    error: str | None = None


class CopyProgress(msgspec.Struct, frozen=True, tag_field="event", tag="progress"):
    """How far the copy is."""

    runs: int
    total: int | None
    rows: int
    bytes: int


class CopyPlan(msgspec.Struct, frozen=True):
    """What a copy would send. Counts of rows and bytes are what W&B says, times are estimates."""

    runs: int = 0
    rows: int = 0
    bytes: int = 0
    requests: int = 0

    @property
    def minutes(self) -> float:
        """How long it would take, about."""
        waiting = self.requests * _SECONDS_A_REQUEST / _REQUESTS_AT_ONCE
        return (waiting + self.bytes / _BYTES_A_SECOND) / 60


CopyEvent: TypeAlias = CopyProgress | CopiedRun
OnCopyEvent: TypeAlias = Callable[[CopyEvent], None]


class CopyReport(msgspec.Struct, kw_only=True):
    """What a copy did. `differences` is None unless both sides were compared."""

    source: str
    target: str
    runs: list[CopiedRun] = []
    artifacts: list[CopiedRun] = []
    plan: CopyPlan | None = None
    differences: list[Difference] | None = None
    requests: int = 0
    seconds: float = 0.0

    @property
    def failed(self) -> list[CopiedRun]:
        """The runs and artifacts that could not be copied; the same call tries them again."""
        return [one for one in (*self.runs, *self.artifacts) if one.status == "failed"]

    @property
    def counts(self) -> dict[str, int]:
        """How many runs were created, updated, unchanged, skipped, failed."""
        return dict(Counter[str](run.status for run in self.runs))

    @property
    def carried(self) -> dict[str, int]:
        """What was sent, by kind."""
        total = Counter[str]()
        for one in (*self.runs, *self.artifacts):
            total.update(one.carried)
        return dict(total)
