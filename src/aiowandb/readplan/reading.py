"""Reads the rows of a plan's slices, several runs at once, in their order."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import msgspec
import pyarrow as pa

from aiowandb.errors import CommError, IncompleteHistoryError, LinkError, ServerError
from aiowandb.export.schema import RowSchema, SchemaSurprise
from aiowandb.history.concurrent import scan_each
from aiowandb.history.pages import Page, ParquetPage
from aiowandb.history.plan import HistoryPlan, plan_history
from aiowandb.history.scan import Scan, from_step, scan_run
from aiowandb.history.selection import Selection
from aiowandb.net import Session
from aiowandb.paths import RunRef
from aiowandb.readplan.origin import Origin
from aiowandb.readplan.runs import RunSlice
from aiowandb.redaction import Link
from aiowandb.wire.rows import STEP

_AGAIN = (
    "Make a new plan, or read with refresh=True, which requests new links and needs an API key."
)


async def read_slices(
    session: Session,
    origin: Origin,
    slices: Sequence[RunSlice],
    selection: Selection,
    schema: RowSchema,
    *,
    refresh: bool,
) -> AsyncGenerator[pa.RecordBatch]:
    """The batches of the slices, one after another, with exactly the columns of the schema."""
    # A part that an earlier version has made may have several slices of one run.
    by_ref: dict[RunRef, list[RunSlice]] = {}
    for one in slices:
        by_ref.setdefault(RunRef(origin.entity, origin.project, one.run.run), []).append(one)
    reader = _SliceReader(session, origin, selection, refresh=refresh)

    async def pages(ref: RunRef) -> AsyncGenerator[Page]:
        for one in by_ref[ref]:
            async with aclosing(reader.pages(ref, one)) as found:
                async for page in found:
                    yield page

    async with scan_each(session, by_ref, pages) as runs:
        async for run in runs:
            async with run:
                async for batch in run:
                    if batch.num_rows:
                        yield _fitted(schema, run.ref, batch)


def _fitted(schema: RowSchema, ref: RunRef, batch: pa.RecordBatch) -> pa.RecordBatch:
    try:
        return schema.fit(ref.run, batch)
    except SchemaSurprise as surprise:
        names = ", ".join(repr(name) for name, _ in surprise.keys)
        raise ServerError(
            f"Run {ref} has values under {names} of a kind that W&B did not announce, so that they"
            " do not fit the plan's schema. Make a new plan with check_files=True, or leave them"
            " out with exclude=.",
            operation="ReadPart",
        ) from surprise


class _SliceReader:
    def __init__(
        self, session: Session, origin: Origin, selection: Selection, *, refresh: bool
    ) -> None:
        self._session = session
        self._origin = origin
        self._selection = selection
        self._refresh = refresh

    async def pages(self, ref: RunRef, one: RunSlice) -> AsyncGenerator[Page]:
        """The pages of a slice."""
        selection = _within(self._selection, one)
        if one.run.fetch:
            async with aclosing(self._fetched(ref, _before(selection, one.run.end))) as pages:
                async for page in pages:
                    yield page
            return
        if self._refresh:
            # The files of a new plan may have rows that were logged since.
            selection = _before(selection, one.run.end)
        scan = self._scan(ref, one, selection)
        read = 0
        async with aclosing(self._scanned(ref, scan, selection)) as pages:
            async for page in pages:
                read += page.count
                yield page
        if one.is_complete:
            _check_count(ref, one, read)
        if scan.gave_up:  # then all rows were requested, with those that are carried
            return
        for batch in carried_batches(one.run.carried):
            if (rest := _from_step(batch, selection, scan.next_step)).num_rows:
                yield ParquetPage(rest)

    async def _scanned(self, ref: RunRef, scan: Scan, selection: Selection) -> AsyncGenerator[Page]:
        """The rows in files. Where these do not work, also with new links, W&B is asked for all."""
        try:
            async with aclosing(scan.pages()) as pages:
                async for page in pages:
                    yield page
            return
        except CommError:
            if not scan.gave_up:
                raise
        rest = from_step(selection, scan.next_step)
        async with aclosing(self._fetched(ref, rest)) as pages:
            async for page in pages:
                yield page

    async def _fetched(self, ref: RunRef, selection: Selection) -> AsyncGenerator[Page]:
        """The rows as W&B has them now."""
        async with (
            self._origin.session(with_key=True) as session,
            aclosing(scan_run(session, ref, selection)) as pages,
        ):
            async for page in pages:
                yield page

    def _scan(self, ref: RunRef, one: RunSlice, selection: Selection) -> Scan:
        run = one.run
        links = tuple(map(Link, run.segments))
        plan = HistoryPlan(ref, links, run.end, run.end, run.rows, 0, facts=run.facts)
        return Scan(
            self._session,
            plan,
            selection,
            replan=self._replan,
            check_count=False,
            as_json=False,
        )

    async def _replan(self, ref: RunRef, error: CommError) -> HistoryPlan:
        if not self._refresh and isinstance(error, IncompleteHistoryError):
            raise IncompleteHistoryError(f"{error} {_AGAIN}", operation="ReadPart") from error
        if not self._refresh:
            raise LinkError(f"The links of run {ref} have expired. {_AGAIN}", operation="ReadPart")
        async with self._origin.session(with_key=True) as session:
            plan = await plan_history(session, ref)
        return msgspec.structs.replace(plan, live_from=plan.end)


def _within(selection: Selection, one: RunSlice) -> Selection:
    wanted = msgspec.structs.replace(selection, min_step=max(selection.min_step, one.min_step))
    return wanted if one.max_step is None else _before(wanted, one.max_step)


def _before(selection: Selection, step: int) -> Selection:
    end = step if selection.max_step is None else min(selection.max_step, step)
    return msgspec.structs.replace(selection, max_step=end)


def _check_count(ref: RunRef, one: RunSlice, read: int) -> None:
    counted = one.run.counted
    # Some of the carried rows may be in files by now, and are counted there.
    if counted is not None and not counted - one.run.carried_rows <= read <= counted:
        raise IncompleteHistoryError(
            f"W&B counted {counted:,} rows of run {ref} when the plan was made, and returned"
            f" {read + one.run.carried_rows:,}. {_AGAIN}",
            operation="ReadPart",
        )


def carried_batches(streams: Sequence[bytes]) -> list[pa.RecordBatch]:
    """The record batches in Arrow streams."""
    return [
        batch
        for stream in streams
        for batch in pa.ipc.open_stream(pa.BufferReader(stream)).read_all().to_batches()
    ]


def _from_step(batch: pa.RecordBatch, selection: Selection, step: int) -> pa.RecordBatch:
    """The selected rows and columns of the batch, from this step on."""
    if STEP in batch.schema.names:
        start = max(selection.min_step, step)
        batch = msgspec.structs.replace(selection, min_step=start).filter_steps(batch)
    names = batch.schema.names
    wanted = msgspec.structs.replace(selection, keys=None).columns(names)
    return batch if wanted is None or wanted == names else batch.select(wanted)
