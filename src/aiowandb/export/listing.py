"""Which runs are exported, what is known of their columns, and which were deleted at W&B."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator, Sequence

import msgspec
import pyarrow as pa

from aiowandb.concurrency.threads import run_sync
from aiowandb.errors import CommError
from aiowandb.export.announced import AnnouncedKeys
from aiowandb.export.folders.base import STATE_DIR, Folder
from aiowandb.export.journal import Deleted, ExportState, Journal, Source
from aiowandb.export.options import ExportOptions
from aiowandb.export.parquet import opened_parquet
from aiowandb.export.runs_table import RUN_ID, ArchiveTable
from aiowandb.export.stored import RunSnapshot
from aiowandb.net import BatchSize, Session, ask_batched
from aiowandb.paths import RunRef
from aiowandb.wire.history import alias
from aiowandb.wire.record import RunRecord
from aiowandb.wire.runs import StorageIds, storage_ids


class SelectedRuns(msgspec.Struct):
    """The runs of an export in their order, a table of them, and what W&B says of their keys.

    `heartbeats` has them as they are known where steps say nothing.
    """

    histories: dict[RunRef, RunSnapshot] = {}
    heartbeats: dict[RunRef, RunSnapshot] = {}
    table: ArchiveTable = msgspec.field(default_factory=ArchiveTable)
    announced: AnnouncedKeys = msgspec.field(default_factory=AnnouncedKeys)

    def add(self, page: Sequence[RunRecord]) -> None:
        """Add the runs of a page. This takes a while: a thread does it."""
        # The order may have changed while we read, and a run have come once more.
        new = list({run.ref: run for run in page if run.ref not in self.histories}.values())
        self.table.add(new)
        for run in new:
            self.histories[run.ref] = RunSnapshot.of_history(run)
            self.heartbeats[run.ref] = RunSnapshot.from_heartbeat(run)
            self.announced.add(run.history_keys)


async def select_runs(pages: AsyncIterator[Sequence[RunRecord]]) -> SelectedRuns:
    """Read all pages; of each run only what is listed and one table row are kept."""
    runs = SelectedRuns()
    async for page in pages:
        await run_sync(runs.add, page)
    return runs


TABLE = "runs.parquet"


class Archive:
    """What an export has of runs that are not listed any more."""

    def __init__(self, folder: Folder, journal: Journal, options: ExportOptions) -> None:
        self._journal = journal
        self._folder = folder
        # Only Parquet keeps the types of all values: beside other formats it is kept for us.
        self.table_file = TABLE if options.format == "parquet" else f"{STATE_DIR}/{TABLE}"
        self._keeps = options.on_deleted == "keep"
        self._has_table = "runs" in options.what

    def table(self) -> pa.Table | None:
        """The table of runs of the last export. Blocks."""
        if not self._has_table or self._folder.size(self.table_file) is None:
            return None
        try:
            with opened_parquet(self._folder, self.table_file) as file:
                return file.read()
        except (pa.ArrowException, OSError):
            return None  # somebody has spoilt it; it is written anew

    async def deleted_runs(
        self, session: Session, source: Source, listed: Collection[str]
    ) -> tuple[str, ...]:
        """The runs that are here and that W&B has no more, if they are to be kept.

        Runs that are there and are not selected any more are none of them.
        """
        state = self._journal.state
        known = await run_sync(self._known, state)
        missing = [run for run in known if run not in listed] if self._keeps else []
        before = set(state.deleted)
        entity, _, project = source.project.partition("/")
        asked = [RunRef(entity, project, run) for run in missing if run not in before]
        gone = {ref.run for ref in await _without(session, asked)}
        deleted = tuple(run for run in missing if run in before or run in gone)
        if deleted != state.deleted:
            await run_sync(self._journal.append, Deleted(deleted))
        return deleted

    def _known(self, state: ExportState) -> list[str]:
        table = self.table()
        return list(dict.fromkeys((*(table[RUN_ID].to_pylist() if table else ()), *_stored(state))))


def _stored(state: ExportState) -> Iterator[str]:
    for dataset in state.datasets.values():
        for part in dataset.parts.values():
            for stored in part.runs:
                yield stored.snapshot.run


async def _without(session: Session, refs: list[RunRef]) -> list[RunRef]:
    """Those of the runs that W&B does not have."""

    def is_there(found: StorageIds | None, index: int, _: RunRef) -> bool | CommError:
        return (found or {}).get(alias(index)) is not None

    size, answers = BatchSize(200, 200), list[bool | CommError]()
    while len(answers) < len(refs):
        some = refs[len(answers) : len(answers) + size.now]
        answers += await ask_batched(session, some, storage_ids, is_there, size)
    # What W&B cannot tell of a run is no reason to take it for deleted.
    return [ref for ref, answer in zip(refs, answers, strict=True) if answer is False]
