"""The report of a copy, or its plan: what was sent, by run and kind, and what was left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Literal, TypeAlias

import msgspec

Status = Literal["created", "updated", "unchanged", "skipped", "failed"]
# For estimates: the seconds that a request takes at W&B, and the bytes per second of uploads.
_SECONDS_A_REQUEST = 0.15
_REQUESTS_AT_ONCE = 8
_BYTES_A_SECOND = 10e6


class Difference(msgspec.Struct, frozen=True):
    """A difference between a run and its copy; `where` is what differs."""

    run: str
    where: str
    source: str
    target: str

    def __str__(self) -> str:
        return f"{self.run}: {self.where}: {self.source} in the source, {self.target} in the target"


class CopiedRun(msgspec.Struct, kw_only=True):
    """The result for one run.

    `carried` counts what was sent by kind: rows, system metrics, console lines, files, bytes.
    `changed` lists what was changed, `dropped` what was left out, with the reasons.
    """

    run: str
    target: str
    status: Status = "unchanged"
    carried: dict[str, int] = {}
    changed: list[str] = []
    dropped: list[str] = []
    error: str | None = None


class CopyProgress(msgspec.Struct, frozen=True, tag_field="event", tag="progress"):
    """The progress of a copy."""

    runs: int
    total: int | None
    rows: int
    bytes: int


class CopyPlan(msgspec.Struct, frozen=True):
    """What a copy would send. Rows and bytes are W&B's counts, times are estimates."""

    runs: int = 0
    rows: int = 0
    bytes: int = 0
    requests: int = 0

    @property
    def minutes(self) -> float:
        """The estimated duration."""
        waiting = self.requests * _SECONDS_A_REQUEST / _REQUESTS_AT_ONCE
        return (waiting + self.bytes / _BYTES_A_SECOND) / 60


CopyEvent: TypeAlias = CopyProgress | CopiedRun
OnCopyEvent: TypeAlias = Callable[[CopyEvent], None]


class CopyReport(msgspec.Struct, kw_only=True):
    """The result of a copy. `differences` is None unless both sides were compared."""

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
        """The runs and artifacts that could not be copied; the same call retries them."""
        return [one for one in (*self.runs, *self.artifacts) if one.status == "failed"]

    @property
    def counts(self) -> dict[str, int]:
        """How many runs were created, updated, unchanged, skipped, failed."""
        return dict(Counter[str](run.status for run in self.runs))

    @property
    def carried(self) -> dict[str, int]:
        """Counts of what was sent, by kind."""
        total = Counter[str]()
        for one in (*self.runs, *self.artifacts):
            total.update(one.carried)
        return dict(total)
