"""All rows of a run, page by page: first the Parquet segments, then the live tail."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial

import msgspec

from aiowandb.errors import CommError
from aiowandb.history.decode import RowDecoder
from aiowandb.history.live import FirstAnswer, read_window
from aiowandb.history.pages import JsonPage, Page, ParquetPage
from aiowandb.history.plan import HistoryPlan, plan_history
from aiowandb.history.segments import read_segment
from aiowandb.history.selection import Selection
from aiowandb.history.windows import cut
from aiowandb.net import Session
from aiowandb.paths import RunRef
from aiowandb.tasks import gather
from aiowandb.wire.history import Window

_WINDOWS_AT_ONCE = 4
# What a signed URL answers when it has expired or when W&B has replaced the file.
_GONE = frozenset({401, 403, 404, 410})


async def scan_run(session: Session, ref: RunRef, selection: Selection) -> AsyncGenerator[Page]:
    """The pages of one run."""
    plan = await plan_history(session, ref)
    async with aclosing(Scan(session, plan, selection).pages()) as pages:
        async for page in pages:
            yield page


class Scan:
    """One run being read: every row of the selection once, in step order."""

    def __init__(
        self,
        session: Session,
        plan: HistoryPlan,
        selection: Selection,
        decoder: RowDecoder | None = None,
    ) -> None:
        self._session = session
        self._plan = plan
        self._selection = selection
        self._decoder = decoder or RowDecoder()
        self._next_step = selection.min_step
        self._rows_read = 0

    async def pages(self, first: FirstAnswer | None = None) -> AsyncGenerator[Page]:
        """The pages. `first` may bring the answer to the first live window."""
        try:
            async with aclosing(self._file_pages()) as pages:
                async for page in pages:
                    yield page
        except CommError as error:
            if error.status not in _GONE:
                raise
            # The run was exported anew, or the links have expired: ask where the rest lies.
            self._plan = await plan_history(self._session, self._plan.ref)
            async with aclosing(self._file_pages()) as pages:
                async for page in pages:
                    yield page
        async with aclosing(self._live_pages(first)) as pages:
            async for page in pages:
                yield page

    async def _file_pages(self) -> AsyncGenerator[Page]:
        for url in self._plan.segments:
            rest = msgspec.structs.replace(self._selection, min_step=self._next_step)
            async with aclosing(read_segment(self._session, url, rest)) as segment:
                async for rows in segment:
                    self._rows_read += rows.read
                    if rows.batch is not None:
                        yield ParquetPage(rows.batch)
                    self._next_step = max(self._next_step, rows.last_step + 1)

    async def _live_pages(self, first: FirstAnswer | None) -> AsyncGenerator[Page]:
        windows = self._live_windows()
        if first and windows[:1] == [first.window]:
            for texts in await first.all_rows(self._session):
                yield JsonPage(texts, self._selection, self._decoder)
            del windows[0]
        # One at first, so that the first rows come soon.
        read = partial(read_window, self._session)
        at_once = 1
        while windows:
            some, windows = windows[:at_once], windows[at_once:]
            for pages in await gather(some, read, at_once):
                for texts in pages:
                    yield JsonPage(texts, self._selection, self._decoder)
            at_once = _WINDOWS_AT_ONCE

    def _live_windows(self) -> list[Window]:
        rows = self._plan.rows
        return live_windows(
            self._plan,
            self._selection,
            self._next_step,
            None if rows is None else max(1, rows - self._rows_read),
        )


def live_windows(
    plan: HistoryPlan, selection: Selection, next_step: int, rows: int | None
) -> list[Window]:
    """The windows of the rows that are not in files, from `next_step` on."""
    start = max(plan.live_from, next_step)
    stop = plan.end if selection.max_step is None else min(plan.end, selection.max_step)
    return cut(plan.ref, start, stop, rows, selection.page_size)
