"""Says of each run and kind of data whether the export has all of it.

complete   all that W&B had when it was listed
live       the same, of a run that was not finished and may log more
sampled    fewer rows than W&B counts: `samples` was asked for, or W&B returns no more
selected   only the rows and columns that the options select
failed     it could not be read completely; the next export tries again
left out   it is not exported
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal, TypeAlias

import msgspec

from aiowandb.choices import What
from aiowandb.export.journal import ExportState
from aiowandb.export.names import RUN_KINDS
from aiowandb.export.options import ExportOptions
from aiowandb.export.sources import SelectedRuns
from aiowandb.export.stored import StoredRun
from aiowandb.paths import RunRef

Wholeness: TypeAlias = Literal["complete", "live", "sampled", "selected", "failed", "left out"]

# The table of runs lacks configs and summaries that are no JSON.
_MAY_FAIL: tuple[What, ...] = ("runs", *RUN_KINDS)


class Outcome(msgspec.Struct):
    """How an export went: which runs of which kind failed."""

    options: ExportOptions
    failed: dict[What, set[str]] = {}

    def add_failed(self, table: str, runs: Collection[str]) -> None:
        """Note runs that failed in a table, which is of the kind of its name."""
        for kind in _MAY_FAIL:
            # What the index of media lacks is not looked for among the tables.
            is_index = (table, kind) == ("media", "tables") and "tables" in self.options.what
            if table == kind or is_index or table.startswith(f"{kind}/"):
                self.failed.setdefault(kind, set()).update(runs)

    def failed_runs(
        self, before: Mapping[What, Collection[str]], deleted: Collection[str]
    ) -> dict[What, tuple[str, ...]]:
        """The runs that lack something; those that were deleted at W&B will do so forever."""
        found: dict[What, tuple[str, ...]] = {}
        for kind in _MAY_FAIL:
            gone = set(before.get(kind, ())).intersection(deleted)
            if lacking := self.failed.get(kind, set()) | gone:
                found[kind] = tuple(sorted(lacking))
        return found

    def of_runs(self, runs: SelectedRuns, state: ExportState) -> dict[What, dict[str, Wholeness]]:
        """For each kind, what there is of each run."""
        return {kind: self._of_kind(kind, runs, state) for kind in RUN_KINDS}

    def _of_kind(self, kind: What, runs: SelectedRuns, state: ExportState) -> dict[str, Wholeness]:
        # The index of media comes with the tables.
        exported = {*self.options.what, *(("media",) if "tables" in self.options.what else ())}
        if kind not in exported:
            return dict.fromkeys((ref.run for ref in runs.histories), "left out")
        failed = self.failed.get(kind, set())
        sampled = {ref.run for ref in self._sampled(kind, runs, state)}
        full: Wholeness = "selected" if kind == "history" and self.options.selecting else "complete"
        found: dict[str, Wholeness] = {}
        for ref in runs.histories:
            if ref.run in failed:
                found[ref.run] = "failed"
            elif ref.run in sampled:
                found[ref.run] = "sampled"
            else:
                is_live = full == "complete" and ref in runs.live
                found[ref.run] = "live" if is_live else full
        return found

    def _sampled(self, kind: What, runs: SelectedRuns, state: ExportState) -> Collection[RunRef]:
        samples = self.options.samples
        if kind == "history" and samples is not None:
            return [ref for ref, run in runs.histories.items() if run.estimated_rows > samples]
        counts: Mapping[RunRef, int | None] = {}
        if kind == "system":
            counts = runs.events
        elif kind == "logs":
            counts = {ref: run.lines for ref, run in runs.logs.items()}
        stored = _stored_runs(state, kind) if any(counts.values()) else {}
        return [
            ref for ref, count in counts.items() if count and _rows(stored.get(ref.run)) < count
        ]


def _stored_runs(state: ExportState, dataset: str) -> dict[str, StoredRun]:
    parts = state.dataset(dataset).parts
    return {stored.snapshot.run: stored for part in parts.values() for stored in part.runs}


def _rows(stored: StoredRun | None) -> int:
    if stored is None:
        return 0
    return stored.rows if stored.rows_read is None else stored.rows_read
