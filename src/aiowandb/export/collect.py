"""Carries a plan out: rows of old parts and rows from W&B go into new parts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

import anyio
import pyarrow as pa

from aiowandb.errors import CommError
from aiowandb.export.dataset import Dataset
from aiowandb.export.draft import Draft
from aiowandb.export.events import FileFinished, RunFailed, RunFinished, RunStarted
from aiowandb.export.parquet import OldRows
from aiowandb.export.parts import Held, Place
from aiowandb.export.plan import NewPart, Plan, Work
from aiowandb.export.result import RunFailure
from aiowandb.export.tally import Tally
from aiowandb.history.columns import STEP
from aiowandb.history.lanes import Lane
from aiowandb.threads import held, run_sync

_TIME = "_timestamp"


async def carry_out(
    plan: Plan, dataset: Dataset, lanes: AsyncIterator[Lane], tally: Tally
) -> tuple[RunFailure, ...]:
    """Write the parts of the plan; give the runs whose rows could not be had.

    The lanes are those of the runs that the plan fetches, in its order.
    """
    await run_sync(dataset.begin, plan)
    collector = _Collector(dataset, lanes, tally)
    try:
        for new in plan.new:
            await collector.write_part(new)
    finally:
        await collector.close()
    await run_sync(dataset.end)
    return tuple(collector.failed)


class _Collector:
    """Writes one part after another."""

    def __init__(self, dataset: Dataset, lanes: AsyncIterator[Lane], tally: Tally) -> None:
        self.failed: list[RunFailure] = []
        self._dataset = dataset
        self._lanes = lanes
        self._tally = tally
        self._old = OldRows(dataset.folder)
        self._schema = dataset.schema

    async def write_part(self, new: NewPart) -> None:
        make = partial(Draft, self._dataset.draft(new), self._schema)
        async with held(make, Draft.discard) as draft:
            runs = [run for work in new.works if (run := await self._write_run(draft, work))]
            if runs or not new.works:
                file = await run_sync(draft.finish)
                await run_sync(self._dataset.widen, self._schema)
                part = await run_sync(self._dataset.commit, new, file, tuple(runs))
                self._tally.tell(FileFinished(self._dataset.place(part), part.rows, part.size))

    async def close(self) -> None:
        with anyio.CancelScope(shield=True):
            await run_sync(self._old.close)

    async def _write_run(self, draft: Draft, work: Work) -> Held | None:
        """Which rows of the run the part has then; None if it could not be had."""
        start = draft.rows
        if work.kept:
            await run_sync(self._copy, draft, work.kept)
        if not work.fetch:
            return work.kept.held if work.kept else Held(work.listed)
        copied, run = draft.rows, work.listed.run
        self._tally.tell(RunStarted(self._dataset.name, run))
        try:
            held = await self._fetch(draft, work)
        except _Rewound:
            # Its old rows are not true any more. It is new for the next plan.
            draft.take_back(start)
            return None
        except CommError as error:
            self.failed.append(RunFailure(run, error))
            self._tally.tell(RunFailed(self._dataset.name, run, str(error)))
            draft.take_back(copied)
            return work.kept.held if work.kept else None
        self._tally.tell(RunFinished(self._dataset.name, run, held.rows))
        return held

    async def _fetch(self, draft: Draft, work: Work) -> Held:
        known = work.kept.held if work.kept else None
        rows, last_step, last_time = (
            (known.rows, known.last_step, known.last_time) if known else (0, -1, None)
        )
        async with await anext(self._lanes) as lane:
            async for batch in lane:
                if known:
                    batch, known = _behind(known, batch), None
                if batch.num_rows:
                    added = await run_sync(self._add, draft, work.listed.run, batch)
                    rows += added
                    self._tally.rows += added
                    last_step, last_time = _last(batch)
        if known:
            raise _Rewound
        return Held(work.listed, rows, last_step, last_time)

    def _copy(self, draft: Draft, place: Place) -> None:
        for batch in self._old.batches(self._dataset.path(place.part), place):
            draft.write(self._schema.recast(batch), self._schema)

    def _add(self, draft: Draft, run: str, batch: pa.RecordBatch) -> int:
        """Write the rows; say how many they are as we lay them out."""
        self._schema, fitted = self._schema.fit_or_widen(run, batch)
        draft.write(fitted, self._schema)
        return int(fitted.num_rows)


class _Rewound(Exception):
    """The last row that we have of a run is not W&B's any more."""


def _behind(known: Held, batch: pa.RecordBatch) -> pa.RecordBatch:
    """The rows behind the first one, which must be the last one that is known."""
    if _last(batch.slice(0, 1)) != (known.last_step, known.last_time):
        raise _Rewound
    return batch.slice(1)


def _last(batch: pa.RecordBatch) -> tuple[int, float | None]:
    """Step and time of the last row, as far as it has them."""
    last = batch.slice(batch.num_rows - 1).select(
        [name for name in (STEP, _TIME) if name in batch.schema.names]
    )
    row = last.to_pylist()[0] if last.num_columns else {}
    return row.get(STEP, -1), row.get(_TIME)
