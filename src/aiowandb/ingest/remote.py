"""Runs of a W&B as a source: many runs are compared in one request, and rows come as columns."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeAlias

from aiowandb.errors import CommError
from aiowandb.files.run_files import RunFiles, console_pages
from aiowandb.history.decode import RowDecoder
from aiowandb.history.plan import HistoryPlan, plan_batch, plan_histories
from aiowandb.history.reading import Start
from aiowandb.history.scan import MAX_SYSTEM_ROWS, Scan
from aiowandb.history.selection import Selection
from aiowandb.ingest.artifacts import artifacts_of
from aiowandb.ingest.facts import dotted_keys, facts_of
from aiowandb.ingest.source import Source, SourceArtifact, SourceFile, SourceRun
from aiowandb.ingest.uploads import remote_content
from aiowandb.net import BatchSize, Session, ask_all
from aiowandb.paths import RunRef
from aiowandb.redaction import Link
from aiowandb.wire.checksum import Checksum
from aiowandb.wire.console import ConsoleLogLine
from aiowandb.wire.copying import RunExtent, SweepFacts, run_extents
from aiowandb.wire.history import alias, sampled_rows
from aiowandb.wire.record import RunRecord
from aiowandb.wire.runs import run_not_found
from aiowandb.wire.sweeps import get_sweep

if TYPE_CHECKING:
    import pyarrow as pa

_PAGE = 1000
# How many files of each run are compared to see whether it has changed.
_FILES_LOOKED_AT = 200
# For the estimates of a plan: the bytes of a row's time and step, those of a value with its key,
# and the requests of a run besides its rows and files.
_BYTES_A_ROW = 80
_BYTES_A_VALUE = 30
_BYTES_A_REQUEST = 2 << 20
_REQUESTS_A_RUN = 6

Pages: TypeAlias = Callable[[], AsyncGenerator[list[RunRecord]]]
Count: TypeAlias = Callable[[], Awaitable[int | None]]


class WandbSource(Source):
    """The runs of a query in a project of a W&B."""

    def __init__(
        self, session: Session, place: tuple[str, str], name: str, pages: Pages, count: Count
    ) -> None:
        self.name = name
        self.session = session
        self._place = place
        self._pages = pages
        self._count = count
        self._look_size = BatchSize(100, 250)
        self._plan_size = plan_batch()
        self._decoder = RowDecoder()

    async def runs(self) -> AsyncGenerator[SourceRun]:
        async with aclosing(self._pages()) as pages:
            async for page in pages:
                for record in page:
                    yield WandbRun(self.session, record, self._decoder)

    async def count(self) -> int | None:
        return await self._count()

    async def look(self, runs: Sequence[SourceRun]) -> None:
        known = [run for run in runs if isinstance(run, WandbRun)]
        await note_extents(self.session, known, self._look_size)

    async def sweep(self, sweep_id: str) -> SweepFacts | None:
        found = await self.session.ask(get_sweep(RunRef(*self._place, sweep_id)))
        if found is None:
            return None
        return SweepFacts(found.config_text, found.display_name, found.description, found.state)

    async def prepare(self, runs: Sequence[SourceRun]) -> None:
        known = [run for run in runs if isinstance(run, WandbRun)]
        refs = [run.record.ref for run in known]
        plans = await plan_histories(self.session, refs, self._plan_size)
        for run, plan in zip(known, plans, strict=True):
            run.plan = plan


async def note_extents(session: Session, runs: Sequence[WandbRun], size: BatchSize) -> None:
    """Find out how much each of these runs of a project has."""

    def extent(
        found: dict[str, RunExtent | None] | None, index: int, _: WandbRun
    ) -> RunExtent | None:
        return (found or {}).get(alias(index))

    def ask(some: Sequence[WandbRun]) -> Any:
        return run_extents([run.record.ref for run in some], _FILES_LOOKED_AT)

    for run, answer in zip(runs, await ask_all(session, runs, ask, extent, size), strict=True):
        run.note_extent(None if isinstance(answer, CommError) else answer)


class WandbRun(SourceRun):
    """A run of a W&B."""

    def __init__(self, session: Session, record: RunRecord, decoder: RowDecoder) -> None:
        super().__init__(facts_of(record))
        self.record = record
        self.plan: HistoryPlan | CommError | None = None
        self.literal_keys = dotted_keys(self.facts.summary)
        self.extent: RunExtent | None = None
        self.has_artifacts = True  # until it is known that there are none
        self._session = session
        self._decoder = decoder

    def note_extent(self, extent: RunExtent | None) -> None:
        """Set the stamp from how much the run has and from its facts."""
        self.extent = extent
        self.has_artifacts = extent is None or extent.has_artifacts
        self.counted_metrics = extent.events_line_count if extent else None
        if extent is None or extent.has_more:
            return  # too many files or artifacts to know: they are compared one by one
        files = [(file.name, file.size, file.md5) for file in _nodes(extent)]
        counts = (extent.history_line_count, extent.events_line_count, extent.log_line_count)
        self.stamp = self.facts.stamp(self.record.last_step, counts, files, extent.versions())

    def estimate(self, stored: int) -> dict[str, int]:
        rows = max(0, (self.record.history_line_count or 0) - stored)
        keys = len(self.record.history_keys.keys) if self.record.history_keys else 0
        files = [file.size for file in _nodes(self.extent)] if self.extent else []
        size = rows * (_BYTES_A_ROW + keys * _BYTES_A_VALUE) + sum(files)
        requests = _REQUESTS_A_RUN + size // _BYTES_A_REQUEST + len(files)
        return {"rows": rows, "files": len(files), "bytes": size, "requests": requests}

    def rows(self) -> AsyncGenerator[pa.RecordBatch]:
        return self._batches(Start())

    def rows_after(self, step: int, count: int) -> AsyncGenerator[pa.RecordBatch]:
        return self._batches(Start(step + 1, count))

    async def _batches(self, start: Start) -> AsyncGenerator[pa.RecordBatch]:
        if self.plan is None:
            (self.plan,) = await plan_histories(self._session, [self.record.ref], BatchSize(1, 1))
        if isinstance(self.plan, CommError):
            raise self.plan
        scan = Scan(self._session, self.plan, Selection(), self._decoder, start=start)
        async with aclosing(scan.pages()) as pages:
            async for page in pages:
                for batch in await page.batches():
                    yield batch

    async def system_metrics(self) -> AsyncGenerator[Sequence[str]]:
        if self.extent and self.extent.events_line_count == 0:
            return
        found = await self._session.ask(sampled_rows(self.record.ref, MAX_SYSTEM_ROWS, system=True))
        if found is None:
            raise run_not_found(self.record.ref)
        texts = found.history or []
        for first in range(0, len(texts), _PAGE):
            yield texts[first : first + _PAGE]

    async def console(self) -> AsyncGenerator[Sequence[ConsoleLogLine]]:
        if self.extent and self.extent.log_line_count == 0:
            return
        async with aclosing(console_pages(self._session, self.record.ref, _PAGE, None)) as pages:
            async for lines in pages:
                yield lines

    async def files(self) -> AsyncGenerator[SourceFile]:
        if self.extent and self.extent.file_count == 0:
            return
        listing = RunFiles(self._session, self.record.ref, per_page=_PAGE, fresh=True)
        async with aclosing(listing.pages()) as pages:
            async for page in pages:
                for file in page:
                    if file.url is None:
                        continue
                    checksum = Checksum.of(file.md5)
                    content = remote_content(self._session, Link(file.url), file.size)
                    yield SourceFile(
                        file.name, file.size, checksum.text if checksum else None, content
                    )

    def artifacts(self) -> AsyncGenerator[SourceArtifact]:
        return artifacts_of(self._session, self.record.ref, "output")

    def used_artifacts(self) -> AsyncGenerator[SourceArtifact]:
        return artifacts_of(self._session, self.record.ref, "input")


def _nodes(extent: RunExtent) -> list[Any]:
    return extent.files.nodes if extent.files else []
