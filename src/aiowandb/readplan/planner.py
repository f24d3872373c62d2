"""Asks W&B where the rows of many runs are, and reads those that are in no file yet.

It works page by page: the first runs are planned while others are still being listed.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from itertools import groupby

import msgspec
import pyarrow as pa

from aiowandb.arguments import check_steps
from aiowandb.choices import EventStream, LiveRows
from aiowandb.concurrency.tasks import gather
from aiowandb.concurrency.threads import run_sync
from aiowandb.errors import CommError, NotFoundError, RunsFailedError, UsageError
from aiowandb.export.announced import AnnouncedKeys
from aiowandb.export.schema import RowSchema, SystemSchema
from aiowandb.export.stored import RunSnapshot
from aiowandb.history.columns import Kind, kind_of
from aiowandb.history.concurrent import RunBatches, scan_each, scan_runs
from aiowandb.history.ownership import FileCheck, are_true
from aiowandb.history.pages import Page
from aiowandb.history.plan import HistoryPlan, plan_batch, plan_histories
from aiowandb.history.reading import Start
from aiowandb.history.scan import live_windows, scan_system
from aiowandb.history.segments import describe_segment
from aiowandb.history.selection import Selection
from aiowandb.net import BatchSize, Session
from aiowandb.paths import RunRef
from aiowandb.readplan.origin import Origin
from aiowandb.readplan.part import Columns, PartData, ReadPart
from aiowandb.readplan.plan import PlanData, ReadPlan
from aiowandb.readplan.runs import PlannedRun, RunSlice, chunks
from aiowandb.suggestions import no_such
from aiowandb.user_warnings import warn
from aiowandb.wire.dotted import unknown_keys
from aiowandb.wire.record import RunRecord
from aiowandb.wire.rows import STEP

# The rows that a plan carries must fit wherever the plan is sent.
MOST_CARRIED = 64 << 20
_PLANS_AT_ONCE = 4
_FILES_AT_ONCE = 16
_COMPRESSED = pa.ipc.IpcWriteOptions(compression="lz4")


class PlanOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The rows of a plan, selected as in an export.

    Rows that W&B has in no file yet, or only as JSON, are read by the planner if `live` is `read`,
    by the readers of the parts if it is `fetch`, and left out if it is `skip`.
    """

    keys: tuple[str, ...] | None = None
    any_key: bool = True
    exclude: tuple[str, ...] = ()
    min_step: int | None = None
    max_step: int | None = None
    stream: EventStream = "default"
    live: LiveRows = "read"
    # The last steps of runs that are known: only later rows of these are planned.
    after: Mapping[str, int] = {}
    # Look into all files for the kinds of their columns.
    check_files: bool = False

    def __post_init__(self) -> None:
        check_steps(self.min_step, self.max_step)
        if not self.any_key and not self.keys:
            raise UsageError("any_key requires keys: without them, all rows are read.")
        if not self.is_system:
            return
        given = (self.keys, self.exclude, self.min_step, self.max_step, dict(self.after))
        if given != (None, (), None, None, {}):
            raise UsageError(
                "keys, exclude, steps and after cannot be combined with the system metrics, which"
                " are always complete."
            )
        if self.live != "read":
            raise UsageError(
                "live cannot be combined with the system metrics: they are in no files, and must"
                " be read to know their columns."
            )

    @property
    def is_system(self) -> bool:
        return self.stream != "default"

    @property
    def selection(self) -> Selection:
        if self.is_system:
            return Selection(always=())
        return Selection(
            keys=self.keys,
            any_key=self.any_key,
            exclude=self.exclude,
            min_step=self.min_step or 0,
            max_step=self.max_step,
        )


class Planner:
    """Plans the runs of a project. `columns` has those found so far."""

    def __init__(self, session: Session, entity: str, project: str, options: PlanOptions) -> None:
        self.origin = Origin.of(session, entity, project)
        self.selection = options.selection
        self._session = session
        self._options = options
        self._announced = AnnouncedKeys()
        self._schema: RowSchema = SystemSchema() if options.is_system else RowSchema()
        self._size = plan_batch()
        self._seen: set[str] = set()
        self._starts: dict[RunRef, Start] = {}
        self._carried = 0
        self._requests_before = session.traffic.requests

    @property
    def columns(self) -> Columns:
        """The columns of the runs that were planned so far."""
        announced = self._announced.selected(self.selection)
        return Columns.of(announced.widen(self._schema))

    async def plan(self, pages: AsyncIterator[Sequence[RunRecord]]) -> ReadPlan:
        """The plan of all runs."""
        slices: list[RunSlice] = []
        async with aclosing(self.slices(pages)) as planned:
            async for some in planned:
                slices += some
        self._warn_of_unknown()
        data = PlanData(
            self.origin,
            self.columns,
            self.selection,
            tuple(slices),
            len(self._seen),
            self._session.traffic.requests - self._requests_before,
            dict(self._options.after),
        )
        return ReadPlan(data)

    async def parts(
        self, pages: AsyncIterator[Sequence[RunRecord]], rows: int
    ) -> AsyncGenerator[ReadPart]:
        """Parts of about this many rows, each as soon as its runs are planned.

        A part has the columns that W&B has announced for the runs up to it.
        """
        rest: list[RunSlice] = []
        async with aclosing(self.slices(pages)) as planned:
            async for some in planned:
                groups = list(chunks([*rest, *some], rows))
                rest = groups.pop() if groups else []
                for group in groups:
                    yield self._part(group)
        if rest:
            yield self._part(rest)

    def _part(self, group: Sequence[RunSlice]) -> ReadPart:
        return ReadPart(PartData(self.origin, self.columns, self.selection, tuple(group)))

    async def slices(
        self, pages: AsyncIterator[Sequence[RunRecord]]
    ) -> AsyncGenerator[list[RunSlice]]:
        """The runs page by page, each as one slice; raises if there are none."""
        async for page in pages:
            # Runs that are created meanwhile shift others to the next page, which then come twice.
            new = [run for run in page if run.id not in self._seen]
            self._seen.update(run.id for run in new)
            yield await (self._system(new) if self._options.is_system else self._page(new))
        if not self._seen:
            where = f"{self.origin.entity}/{self.origin.project}"
            raise NotFoundError(f"No runs found in {where}: there is nothing to plan.")

    async def _page(self, records: Sequence[RunRecord]) -> list[RunSlice]:
        self._starts = {run.ref: self._start(run) for run in records if self._has_news(run)}
        refs = list(self._starts)
        size = self._size.now
        some = [refs[first : first + size] for first in range(0, len(refs), size)]
        answers = await gather(some, self._plans, _PLANS_AT_ONCE)
        plans = _all_of([plan for answer in answers for plan in answer], refs)
        plans = await self._with_true_facts(plans)
        vague = [run.ref for run in records if run.ref in plans and self._is_vague(run)]
        for run in records:
            # Rows that were not read yet are only known from announcements.
            if run.ref not in vague or self._options.live == "fetch":
                self._announced.add(run.history_keys)
        looked = await gather(vague, partial(self._looked_into, plans), _FILES_AT_ONCE)
        plans |= zip(vague, looked, strict=True)
        carried: Mapping[RunRef, _Carried] = {}
        if self._options.live == "read":
            live = {ref: plan for ref, plan in plans.items() if self._is_live(plan)}
            carried = await self._read_live(live)
        return [
            RunSlice(
                self._planned(plan, carried.get(ref)),
                max(self.selection.min_step, self._starts[ref].step),
                self.selection.max_step,
            )
            for ref, plan in plans.items()
        ]

    async def _with_true_facts(self, plans: dict[RunRef, HistoryPlan]) -> dict[RunRef, HistoryPlan]:
        """The plans, without facts if these are not true: readers may have no key to ask."""
        for ref, plan in plans.items():
            if plan.facts and not await are_true(self._session, ref, plan.facts):
                return {
                    ref: msgspec.structs.replace(plan, facts=None) for ref, plan in plans.items()
                }
        return plans

    def _is_vague(self, run: RunRecord) -> bool:
        """Whether W&B has said nothing of the columns of the run, or is not to be believed."""
        return self._options.check_files or not _announces(run)

    async def _looked_into(self, plans: Mapping[RunRef, HistoryPlan], ref: RunRef) -> HistoryPlan:
        """The plan with the facts in its files, whose columns count as announced too."""
        plan = plans[ref]
        last_step = plan.end - 1
        check = FileCheck(ref, plan.facts, len(plan.segments))
        for link in plan.segments:
            try:
                found = await describe_segment(self._session, link, check)
            except CommError as error:
                raise RunsFailedError({ref: error}) from error
            last_step = max(last_step, found.last_step)
            self._announced.keys.update(each for each in found.kinds if each[1] is not Kind.NULL)
        is_live = plan.live_from < plan.end
        live_from = plan.live_from if is_live else last_step + 1
        return msgspec.structs.replace(plan, end=last_step + 1, live_from=live_from)

    def _has_news(self, run: RunRecord) -> bool:
        known = self._options.after.get(run.id)
        is_known = known is not None and _announces(run) and run.last_step == known
        return not is_known and not RunSnapshot.from_history(run).is_empty

    def _start(self, run: RunRecord) -> Start:
        known = self._options.after.get(run.id, -1)
        # A run that ends before its known last step was rewound: all of its rows are new.
        return Start(0 if _announces(run) and run.last_step <= known else known + 1)

    async def _plans(self, refs: Sequence[RunRef]) -> list[HistoryPlan | CommError]:
        return await plan_histories(self._session, refs, self._size)

    def _is_live(self, plan: HistoryPlan) -> bool:
        start = max(self.selection.min_step, self._starts[plan.ref].step)
        return bool(live_windows(plan, self.selection, start, plan.row_count))

    def _planned(self, plan: HistoryPlan, carried: _Carried | None) -> PlannedRun:
        rows, end, run = plan.row_count or plan.end, plan.end, plan.ref.run
        is_live = self._is_live(plan)
        if is_live and self._options.live == "fetch":
            return PlannedRun(run, rows=rows, end=plan.end, fetch=True)
        if is_live and self._options.live == "skip":
            # What follows is part of the next plan: it must not count as known.
            planned = max(plan.live_from, self._starts[plan.ref].step)
            rows, end = rows * planned // max(1, end), planned
        is_counted = self._is_counted(plan.ref) and not (is_live and carried is None)
        return PlannedRun(
            run,
            tuple(link.reveal() for link in plan.segments),
            rows,
            end,
            plan.row_count if is_counted else None,
            carried.streams if carried else (),
            carried.rows if carried else 0,
            facts=plan.facts,
        )

    def _is_counted(self, ref: RunRef) -> bool:
        """Whether all rows are selected, so that W&B's count applies."""
        first = max(self.selection.min_step, self._starts[ref].step)
        return not first and self.selection.max_step is None

    async def _read_live(self, plans: Mapping[RunRef, HistoryPlan]) -> dict[RunRef, _Carried]:
        """The rows of the runs that are in no file yet."""

        async def known(
            _: Session, refs: Sequence[RunRef], __: BatchSize
        ) -> list[HistoryPlan | CommError]:
            return [self._live_part(plans[ref]) for ref in refs]

        found: dict[RunRef, _Carried] = {}
        if plans:
            starts = {ref: self._starts[ref] for ref in plans}
            async with scan_runs(self._session, plans, self.selection, starts, known) as runs:
                async for run in runs:
                    found[run.ref] = await self._carry(run)
        return found

    def _live_part(self, plan: HistoryPlan) -> HistoryPlan:
        """The plan without files, of which the number of rows is not known."""
        is_counted = self._is_counted(plan.ref) and not plan.segments
        return msgspec.structs.replace(
            plan, segments=(), row_count=plan.row_count if is_counted else None
        )

    async def _system(self, records: Sequence[RunRecord]) -> list[RunSlice]:
        refs = [record.ref for record in records]
        planned = []
        async with scan_each(self._session, refs, self._system_pages) as runs:
            async for run in runs:
                carried = await self._carry(run)
                rows = carried.rows
                one = PlannedRun(run.ref.run, (), rows, 0, None, carried.streams, rows)
                planned.append(RunSlice(one))
        return planned

    def _system_pages(self, ref: RunRef) -> AsyncGenerator[Page]:
        return scan_system(self._session, ref, Selection())

    async def _carry(self, run: RunBatches) -> _Carried:
        streams: list[bytes] = []
        batches: list[pa.RecordBatch] = []
        try:
            async with run:
                async for batch in run:
                    self._schema = self._widened(batch)
                    batches.append(batch)
        except CommError as error:
            raise RunsFailedError({run.ref: error}) from error
        streams = await run_sync(_as_streams, batches)
        self._carried += sum(map(len, streams))
        if self._carried > MOST_CARRIED:
            raise UsageError(
                f"The rows that are in no file yet have more than {MOST_CARRIED >> 20} MB, which"
                " is too much for a plan: select fewer keys, let the readers fetch them with"
                " live='fetch', or leave them out with live='skip'."
            )
        return _Carried(tuple(streams), run.reading.rows)

    def _widened(self, batch: pa.RecordBatch) -> RowSchema:
        """The schema with the columns of the batch that W&B has not announced."""
        room = [(field.name, kind_of(field)) for field in batch.schema if field.name != STEP]
        return self._schema.widened((name, kind) for name, kind in room if kind is not Kind.NULL)

    def _warn_of_unknown(self) -> None:
        known = self._announced.names
        named = [*(self._options.keys or ()), *self._options.exclude]
        for key in unknown_keys(named, known) if known else ():
            warn(no_such("key", key, known, "in any of the runs"))


def _announces(run: RunRecord) -> bool:
    return bool(run.history_keys and run.history_keys.keys)


class _Carried(msgspec.Struct, frozen=True):
    """Rows that are part of the plan, as Arrow streams, and of how many they were selected."""

    streams: tuple[bytes, ...]
    rows: int


def _all_of(
    plans: Sequence[HistoryPlan | CommError], refs: Sequence[RunRef]
) -> dict[RunRef, HistoryPlan]:
    found: dict[RunRef, HistoryPlan] = {}
    failed: dict[RunRef, CommError] = {}
    for ref, plan in zip(refs, plans, strict=True):
        if isinstance(plan, CommError):
            failed[ref] = plan
        else:
            found[ref] = plan
    if failed:
        raise RunsFailedError(failed)
    return found


def _as_streams(batches: Sequence[pa.RecordBatch]) -> list[bytes]:
    """The batches as Arrow streams, one for each schema."""
    streams = []
    for _, some in groupby(batches, lambda batch: batch.schema.serialize().to_pybytes()):
        first, *others = some
        stream = pa.BufferOutputStream()
        with pa.ipc.new_stream(stream, first.schema, options=_COMPRESSED) as writer:
            for batch in (first, *others):
                writer.write_batch(batch)
        streams.append(stream.getvalue().to_pybytes())
    return streams
