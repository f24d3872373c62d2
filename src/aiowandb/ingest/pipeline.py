"""A copy: compares the runs of the source with the target, and writes several at once."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Literal

import anyio
import msgspec

from aiowandb.choices import CopyIds, OnExisting
from aiowandb.concurrency.tasks import Tasks, task_group
from aiowandb.errors import AiowandbError, CommError, ConflictError
from aiowandb.history.decode import RowDecoder
from aiowandb.ingest.artifacts import ArtifactCopier, UnfinishedRun
from aiowandb.ingest.remote import WandbRun, note_extents
from aiowandb.ingest.report import (
    CopiedRun,
    CopyPlan,
    CopyProgress,
    CopyReport,
    Difference,
    OnCopyEvent,
)
from aiowandb.ingest.source import Source, SourceRun
from aiowandb.ingest.sweeps import SweepCopier
from aiowandb.ingest.target import Found, Target
from aiowandb.ingest.verify import compare_runs
from aiowandb.ingest.writer import RunWriter
from aiowandb.net import FATAL, BatchSize, is_server_down

# The runs that are compared in one request, and those that are written at once. A run in progress
# takes a few MB: its rows as columns, as lines, and as a request.
_COMPARED_TOGETHER = 250
_PREPARED_TOGETHER = 50
_RUNS_AT_ONCE = 12
_NAMED_IN_ERRORS = 5


class CopyOptions(msgspec.Struct, frozen=True):
    """The options of a copy."""

    on_existing: OnExisting = "fail"
    ids: CopyIds = "keep"
    plan: bool = False
    verify: bool = False


class Copy:
    """A copy in progress."""

    def __init__(
        self,
        source: Source,
        target: Target,
        options: CopyOptions,
        on_event: OnCopyEvent | None = None,
    ) -> None:
        source.memory = target.session.memory
        self._source = source
        self._target = target
        self._options = options
        self._on_event = on_event
        self._total: int | None = None
        self._done = self._rows = self._bytes = 0
        self._sweeps = SweepCopier(source, target)
        self._unfinished: list[UnfinishedRun] = []
        self._places = anyio.Semaphore(_RUNS_AT_ONCE)
        self.report = CopyReport(source=source.name, target=target.name)

    async def run(self) -> CopyReport:
        """Copy all runs. The report has the runs that failed."""
        started = time.monotonic()
        try:
            await self._run()
        finally:
            with anyio.CancelScope(shield=True):
                await self._source.aclose()
        self.report.seconds = time.monotonic() - started
        return self.report

    async def _run(self) -> None:
        self._total = await self._source.count()
        if self._options.plan:
            self.report.plan = CopyPlan()
        groups = self._together(_COMPARED_TOGETHER)
        async with aclosing(groups), task_group() as tasks:
            async for some in groups:
                await self._compare(some, tasks)
        await self._copy_artifacts()
        if self._options.verify:
            self.report.differences = await self._verify()

    async def _compare(self, runs: Sequence[SourceRun], tasks: Tasks) -> None:
        await self._source.look(runs)
        ids = {run.facts.id: self._target_id(run) for run in runs}
        found = await self._target.find(list(ids.values()))
        self._refuse_others(runs, ids, found)
        wanted = []
        for run in runs:
            report = CopiedRun(run=run.facts.id, target=ids[run.facts.id])
            self.report.runs.append(report)
            there = found.get(report.target)
            report.status = self._status(run, there)
            if report.status in ("created", "updated"):
                wanted.append((run, there, report))
            else:
                self._finished(report)
        if self._options.plan:
            for run, there, report in wanted:
                await run.measure()
                self._plan(run, there, report)
            return
        for first in range(0, len(wanted), _PREPARED_TOGETHER):
            some = wanted[first : first + _PREPARED_TOGETHER]
            await self._source.prepare([run for run, _, _ in some])
            for run, there, report in some:
                await self._places.acquire()
                tasks.start_soon(self._write, run, there, report)

    async def _copy_artifacts(self) -> None:
        """Copy the artifacts, the oldest first, and then mark their runs as complete."""
        await ArtifactCopier(self._target, self.report).copy(self._unfinished)
        for unfinished in self._unfinished:
            if unfinished.report.status != "failed":
                await unfinished.writer.finish(unfinished.found)
            self._finished(unfinished.report)

    async def _verify(self) -> list[Difference]:
        """The differences between both sides."""
        states = await self._target.keeps_origin()
        look_size = BatchSize(100, 250)
        found: list[Difference] = []
        async with aclosing(self._together(_PREPARED_TOGETHER)) as groups:
            async for some in groups:
                await self._source.prepare(some)
                await self._source.look(some)
                copies = await self._target.records([self._target_id(run) for run in some])
                decoder = RowDecoder()
                session = self._target.session
                pairs = [
                    (run, WandbRun(session, copy, decoder) if copy else None)
                    for run in some
                    for copy in [copies.get(self._target_id(run))]
                ]
                await note_extents(session, [copy for _, copy in pairs if copy], look_size)
                found += await compare_runs(pairs, states=states)
        return found

    def _target_id(self, run: SourceRun) -> str:
        if self._options.ids == "keep":
            return run.facts.id
        return self._target.new_id(self._source.identity(run))

    def _refuse_others(
        self, runs: Sequence[SourceRun], ids: dict[str, str], found: dict[str, Found]
    ) -> None:
        """Raise if the target has runs of the same ids that are not copies of these."""
        if self._options.on_existing != "fail":
            return
        others = [
            str(there.ref)
            for run in runs
            if (there := found.get(ids[run.facts.id]))
            and not there.is_copy_of(self._source.identity(run))
        ]
        if others:
            named, more = others[:_NAMED_IN_ERRORS], len(others) - _NAMED_IN_ERRORS
            rest = f" and {more} more" if more > 0 else ""
            raise ConflictError(
                f"{', '.join(named)}{rest} exist and are not copies of these runs. They were not"
                " changed. Choose another target, ids='new', or on_existing='skip' or 'update'."
            )

    def _status(
        self, run: SourceRun, there: Found | None
    ) -> Literal["created", "updated", "unchanged", "skipped"]:
        if there is None or there.is_blank:
            return "created"
        is_ours = there.is_copy_of(self._source.identity(run))
        if not is_ours and self._options.on_existing == "skip":
            return "skipped"
        mark = there.mark
        if is_ours and mark and mark.complete and run.stamp and mark.stamp == run.stamp:
            return "unchanged"
        return "updated"

    def _plan(self, run: SourceRun, there: Found | None, report: CopiedRun) -> None:
        report.carried = run.estimate(there.lines if there else 0)
        plan = self.report.plan or CopyPlan()
        self.report.plan = CopyPlan(
            plan.runs + 1,
            plan.rows + report.carried.get("rows", 0),
            plan.bytes + report.carried.get("bytes", 0),
            plan.requests + report.carried.get("requests", 0),
        )

    async def _write(self, run: SourceRun, there: Found | None, report: CopiedRun) -> None:
        try:
            writer = RunWriter(self._target, run, self._source.identity(run), report)
            report.dropped += run.dropped
            sweep = await self._sweeps.copy_of(run.facts.sweep)
            if run.facts.sweep and sweep is None:
                report.dropped.append(f"that it is of sweep {run.facts.sweep}, which is not known")
            written = await writer.write(there, report.target, sweep)
            if run.has_artifacts:
                self._unfinished.append(UnfinishedRun(run, writer, written, report))
                return
        except FATAL:
            raise
        except AiowandbError as error:
            if isinstance(error, CommError) and await is_server_down(self._target.session, error):
                raise
            report.status, report.error = "failed", str(error)
        finally:
            self._places.release()
        self._finished(report)

    def _finished(self, report: CopiedRun) -> None:
        self._done += 1
        if self._on_event:
            self._on_event(report)
            # Not `self.report.carried`, which adds up all runs: for each of them, that takes long.
            self._rows += report.carried.get("rows", 0)
            self._bytes += report.carried.get("bytes", 0)
            self._on_event(CopyProgress(self._done, self._total, self._rows, self._bytes))

    async def _together(self, most: int) -> AsyncGenerator[list[SourceRun]]:
        """The runs of the source, as many at once as memory has room for their configs."""
        some: list[SourceRun] = []
        size = 0
        async with aclosing(self._source.runs()) as runs:
            async for run in runs:
                some.append(run)
                size += len(run.facts.config) + len(run.facts.summary or "")
                if len(some) == most or size > self._source.memory.response_bytes:
                    yield some
                    some, size = [], 0
        if some:
            yield some
