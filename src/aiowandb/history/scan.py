"""All rows of a run, page by page: first the Parquet segments, then the live rows.

System metrics are rows without steps, in order of time.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any

import msgspec
import pyarrow as pa
from anyio.to_thread import run_sync

from aiowandb.concurrency.tasks import gather
from aiowandb.errors import CommError, IncompleteHistoryError, LinkError
from aiowandb.history.columns import rows_to_batch
from aiowandb.history.decode import RowDecoder, decode_rows
from aiowandb.history.live import VALUES_PER_ANSWER, FirstAnswer, Texts, read_windows, split
from aiowandb.history.ownership import FileCheck, are_true
from aiowandb.history.pages import JsonPage, Page
from aiowandb.history.plan import HistoryPlan, plan_history
from aiowandb.history.reading import Ends, Start
from aiowandb.history.segments import SegmentRows, read_segment
from aiowandb.history.selection import Selection
from aiowandb.net import BatchSize, Session
from aiowandb.paths import RunRef
from aiowandb.redaction import Link
from aiowandb.user_warnings import warn
from aiowandb.wire.history import Window, sampled_rows
from aiowandb.wire.rows import flat_row
from aiowandb.wire.runs import run_not_found

_REQUESTS_AT_ONCE = 2
# From this status on, a host of files has failed.
_FAILED = 500
# System metrics come every few seconds: more of them than this take years.
MAX_SYSTEM_ROWS = 10_000_000

# Returns a run's plan with new links after such an error, or raises if that is not allowed.
Replan = Callable[[RunRef, CommError], Awaitable[HistoryPlan]]


async def scan_run(session: Session, ref: RunRef, selection: Selection) -> AsyncGenerator[Page]:
    """The pages of one run."""
    plan = await plan_history(session, ref)
    async with aclosing(Scan(session, plan, selection).pages()) as pages:
        async for page in pages:
            yield page


class Scan:
    """Reads one run from a start: every selected row once, in step order."""

    def __init__(
        self,
        session: Session,
        plan: HistoryPlan,
        selection: Selection,
        decoder: RowDecoder | None = None,
        size: BatchSize | None = None,
        start: Start | None = None,
        replan: Replan | None = None,
        check_count: bool = True,
        as_json: bool = True,
    ) -> None:
        start = start or Start()
        self._session = session
        self._as_json = as_json
        # Whether files do not work, also with new links.
        self.gave_up = False
        self._plan = plan
        self._replan = replan or partial(_plan_again, session)
        self._counts_rows = check_count and not selection.min_step and selection.max_step is None
        self._selection = from_step(selection, start.step)
        self._decoder = decoder or RowDecoder()
        self._size = size or BatchSize(4, 20)
        self._next_step = self._selection.min_step
        self._rows_read = start.rows_before
        # The rows of a window; fewer where so many take more bytes than a response may have.
        self._page_rows = selection.page_size
        self._row_bytes = 0.0

    @property
    def next_step(self) -> int:
        """The first step that is in none of the files that were read so far."""
        return self._next_step

    async def pages(self, first: FirstAnswer | None = None) -> AsyncGenerator[Page]:
        """The pages. `first` may be an answer to the first live window that is already there.

        If rows are missing or duplicated, an error follows the last page.
        """
        for part in (self._all_file_pages(), self._live_pages(first)):
            async with aclosing(part) as pages:
                async for page in pages:
                    self._rows_read += page.count
                    yield page
        if self._counts_rows:
            await self._check_count()

    async def _check_count(self) -> None:
        """Raise unless as many rows were read as W&B counted before, or counts now."""
        before, read = self._plan.row_count, self._rows_read
        if before is None or before == read:
            return
        now = (await plan_history(self._session, self._plan.ref)).row_count
        # A live run may have grown or been rewound while it was read.
        if now is None or not min(before, now) <= read <= max(before, now):
            raise IncompleteHistoryError(
                f"W&B counts {before:,} rows of run {self._plan.ref}, and returned {read:,}.",
                operation="HistoryPages",
            )

    async def _all_file_pages(self) -> AsyncGenerator[Page]:
        """The pages of the files. Their links may expire, or lead to files of another run."""
        planned_from: int | None = None
        while True:
            try:
                async with aclosing(self._file_pages()) as pages:
                    async for page in pages:
                        yield page
                return
            except CommError as error:
                may_pass = isinstance(error, LinkError | IncompleteHistoryError)
                if not (may_pass or (error.status or 0) >= _FAILED):
                    raise
                if planned_from == self._next_step:  # new links, and they do not work either
                    if isinstance(error, IncompleteHistoryError) and await self._drops_facts():
                        continue
                    self._give_files_up(error)
                    return
                planned_from = self._next_step
                self._plan = await self._replan(self._plan.ref, error)

    async def _drops_facts(self) -> bool:
        """Whether what W&B says of rows is not true, so that the files may be right."""
        plan = self._plan
        if not self._as_json or not plan.facts:
            return False
        if await are_true(self._session, plan.ref, plan.facts):
            return False
        self._plan = msgspec.structs.replace(plan, facts=None)
        return True

    def _give_files_up(self, error: CommError) -> None:
        """Read the rows that are left as JSON, and say so; or leave that to the caller."""
        self.gave_up = True
        if not self._as_json:
            raise error
        self._plan = msgspec.structs.replace(self._plan, segments=(), live_from=0)
        self._session.read_as_json[self._plan.ref] += 1
        warn(
            f"Run {self._plan.ref}: its Parquet files cannot be used, also with new links, so"
            f" its rows are read as JSON, which takes longer. {error}"
        )

    async def _file_pages(self) -> AsyncGenerator[Page]:
        facts = None if self._session.row_facts_are_true is False else self._plan.facts
        check = FileCheck(self._plan.ref, facts, len(self._plan.segments))
        for link in self._plan.segments:
            async with aclosing(self._segment(link, check)) as segment:
                async for rows in segment:
                    yield rows.page
                    self._next_step = max(self._next_step, rows.last_step + 1)

    def _segment(self, link: Link, check: FileCheck) -> AsyncGenerator[SegmentRows]:
        unread = from_step(self._selection, self._next_step)
        return read_segment(self._session, link, unread, check, is_large=self._plan.is_large)

    async def _live_pages(self, first: FirstAnswer | None) -> AsyncGenerator[Page]:
        windows = self._live_windows()
        if first and windows[:1] == [first.window]:
            async with aclosing(self._pages_of([first])) as pages:
                async for page in pages:
                    yield page
            windows = self._smaller(windows[1:])
        # One window at first, so that the first rows come soon.
        per_request, at_once = 1, 1
        while windows:
            requests = [
                windows[i : i + per_request] for i in range(0, per_request * at_once, per_request)
            ]
            del windows[: per_request * at_once]
            for answers in await gather(filter(None, requests), self._read, at_once):
                async with aclosing(self._pages_of(answers)) as pages:
                    async for page in pages:
                        yield page
            windows = self._smaller(windows)
            per_request, at_once = self._windows_per_request(), _REQUESTS_AT_ONCE

    async def _read(self, windows: Sequence[Window]) -> list[FirstAnswer]:
        return await read_windows(self._session, windows, self._size)

    async def _pages_of(self, answers: Sequence[FirstAnswer]) -> AsyncGenerator[JsonPage]:
        """All rows of windows that were asked for in one request, in one page if they came so."""
        if all(answer.is_complete for answer in answers):
            yield self._page([texts for answer in answers if (texts := answer.texts)])
            return
        for answer in answers:
            longest = 0
            async with aclosing(answer.rows(self._session)) as pieces:
                async for rows in pieces:
                    longest = max(longest, len(rows))
                    yield self._page([rows])
            if answer.is_too_large and longest:
                self._page_rows = min(self._page_rows, longest)

    def _smaller(self, windows: list[Window]) -> list[Window]:
        """The windows, or smaller ones if responses have shown that rows are long."""
        if not windows or windows[0].samples <= self._page_rows + 1:
            return windows
        first, last = windows[0], windows[-1]
        rows = len(windows) * (first.samples - 1)
        return split(first.ref, first.first, last.end, rows, self._page_rows)

    def _page(self, chunks: Sequence[Texts]) -> JsonPage:
        page = JsonPage(chunks, self._selection, self._decoder, self._plan.text_keys)
        if page.count:
            self._row_bytes = max(self._row_bytes, page.nbytes / page.count)
        return page

    def _windows_per_request(self) -> int:
        values = self._page_rows * max(1, self._plan.key_count)
        bytes_each = max(1, int(self._page_rows * self._row_bytes))
        by_bytes = self._session.memory.batch_bytes // bytes_each
        return max(1, min(self._size.now, VALUES_PER_ANSWER // values, by_bytes))

    def _live_windows(self) -> list[Window]:
        rows = self._plan.row_count
        return live_windows(
            self._plan,
            self._selection,
            self._next_step,
            None if rows is None else max(1, rows - self._rows_read),
        )


async def _plan_again(session: Session, ref: RunRef, _error: CommError) -> HistoryPlan:
    return await plan_history(session, ref)


def from_step(selection: Selection, step: int) -> Selection:
    """The selection without rows before the step."""
    return msgspec.structs.replace(selection, min_step=max(selection.min_step, step))


def live_windows(
    plan: HistoryPlan, selection: Selection, next_step: int, rows: int | None
) -> list[Window]:
    """The windows of the rows that are not in files, from `next_step` on; about `rows` rows."""
    start = max(plan.live_from, next_step)
    stop = plan.end if selection.max_step is None else min(plan.end, selection.max_step)
    return split(plan.ref, start, stop, rows, selection.page_size)


async def scan_sample(
    session: Session, ref: RunRef, selection: Selection, samples: int, decoder: RowDecoder
) -> AsyncGenerator[Page]:
    """A sample of the rows of one run, drawn by W&B."""
    found = await session.ask(sampled_rows(ref, samples))
    if found is None:
        raise run_not_found(ref, "RunFullHistory")
    yield JsonPage([found.history or []], selection, decoder)


async def scan_system(session: Session, ref: RunRef, selection: Selection) -> AsyncGenerator[Page]:
    """The system metrics of a run. W&B has no windows over them: they come in one answer."""
    found = await session.ask(sampled_rows(ref, MAX_SYSTEM_ROWS, system=True))
    if found is None:
        raise run_not_found(ref, "RunSystemHistory")
    for page in system_pages(found.history or [], selection):
        yield page


def system_pages(texts: Sequence[str], selection: Selection) -> Iterator[SystemPage]:
    """The pages of these system metrics, which W&B returned for one run."""
    selection = msgspec.structs.replace(selection, always=())
    for first in range(0, len(texts), selection.page_size):
        yield SystemPage(texts[first : first + selection.page_size], selection)


class SystemPage:
    """Some system metrics of one run."""

    def __init__(self, texts: Sequence[str], selection: Selection) -> None:
        self.count = len(texts)
        self.ends = Ends()  # they have no steps
        self.nbytes = sum(map(len, texts))
        self._rows = decode_rows(texts)
        self._selection = selection

    def rows(self) -> Iterator[list[dict[str, Any]]]:
        yield list(self._selection.filter_rows([flat_row(row) for row in self._rows]))

    async def batches(self) -> list[pa.RecordBatch]:
        batch = await run_sync(self._batch)
        return [] if batch is None else [batch]

    def _batch(self) -> pa.RecordBatch | None:
        return self._selection.filter_batch(rows_to_batch(self._rows, first=()))
