"""The sources of an export: the selected runs, and the tables of their rows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Literal

import msgspec

from aiowandb.concurrency.threads import run_sync
from aiowandb.export.announced import AnnouncedKeys
from aiowandb.export.options import ExportOptions
from aiowandb.export.originals import OriginalRuns
from aiowandb.export.runs_table import ArchiveTable
from aiowandb.export.schema import LongSchema, RowSchema, SystemSchema
from aiowandb.export.stored import RunSnapshot
from aiowandb.history.columns import Kind
from aiowandb.history.selection import Selection
from aiowandb.paths import RunRef
from aiowandb.wire.record import RunRecord


class SelectedRuns(msgspec.Struct):
    """The runs of an export in their order, a table of them, and their announced keys.

    `heartbeats` has their snapshots for tables without steps.
    """

    histories: dict[RunRef, RunSnapshot] = {}
    heartbeats: dict[RunRef, RunSnapshot] = {}
    table: ArchiveTable = msgspec.field(default_factory=ArchiveTable)
    originals: OriginalRuns = msgspec.field(default_factory=OriginalRuns)
    announced: AnnouncedKeys = msgspec.field(default_factory=AnnouncedKeys)

    def add(self, page: Sequence[RunRecord]) -> None:
        """Add the runs of a page. This takes a while: call it in a thread."""
        # If the order changed while pages were read, a run may be listed twice.
        new = list({run.ref: run for run in page if run.ref not in self.histories}.values())
        self.table.add(new)
        self.originals.add(new)
        for run in new:
            self.histories[run.ref] = RunSnapshot.from_history(run)
            self.heartbeats[run.ref] = RunSnapshot.from_heartbeat(run)
            self.announced.add(run.history_keys)


async def select_runs(pages: AsyncIterator[Sequence[RunRecord]]) -> SelectedRuns:
    """Read all pages; of each run only a snapshot and one table row are kept in memory."""
    runs = SelectedRuns()
    async for page in pages:
        await run_sync(runs.add, page)
    return runs


class RowSource(msgspec.Struct, frozen=True):
    """A table of rows to export: the runs that have them, and which of their rows and columns.

    `keys` are the columns whose kinds W&B reports; `unknown_keys` have types that we do not know,
    so that their kinds depend on their values. `samples` is the number of rows per run, if not all
    rows are exported.
    """

    name: Literal["history", "system"]
    runs: Mapping[RunRef, RunSnapshot]
    schema: RowSchema
    selection: Selection
    keys: Collection[tuple[str, Kind]] = ()
    unknown_keys: frozenset[str] = frozenset()
    samples: int | None = None

    @property
    def is_extendable(self) -> bool:
        """Whether a run that has grown is read only from its last known row on."""
        return self.name == "history" and self.samples is None


def row_sources(runs: SelectedRuns, options: ExportOptions) -> list[RowSource]:
    """The tables of rows that the options select."""
    found = []
    if "history" in options.what:
        found.append(_history(runs, options))
    if "system" in options.what:
        found.append(RowSource("system", runs.heartbeats, SystemSchema(), Selection()))
    return found


def history_selection(options: ExportOptions) -> Selection:
    """The rows and columns of the histories that the options select."""
    return Selection(
        keys=options.keys,
        any_key=options.any_key,
        exclude=options.exclude,
        min_step=options.min_step or 0,
        max_step=options.max_step,
    )


def _history(runs: SelectedRuns, options: ExportOptions) -> RowSource:
    selection = history_selection(options)
    announced = runs.announced.selected(selection)
    return RowSource(
        "history",
        runs.histories,
        LongSchema() if options.layout == "long" else RowSchema(),
        selection,
        announced.keys,
        frozenset(announced.unknown_keys),
        options.samples,
    )
