"""Reads the histories of a list's next runs ahead, while one run is being read.

This is done for a call that was made for one run after another, with limits for the number of runs
and bytes, and for a short time: rows that are not used soon are dropped, and the run is read alone.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from functools import partial
from itertools import islice
from typing import NamedTuple
from weakref import WeakValueDictionary

import anyio

from aiowandb.concurrency.read_ahead import ReadAhead
from aiowandb.history import neighbours
from aiowandb.history.decode import RowDecoder
from aiowandb.history.live import (
    FirstAnswer,
    PlannedRun,
    WindowPrefetch,
    group_windows,
    window_batch,
)
from aiowandb.history.neighbours import Position, SharedPlans
from aiowandb.history.pages import Page
from aiowandb.history.pattern import Pattern
from aiowandb.history.plan import HistoryPlan, expected_plan
from aiowandb.history.scan import Scan, live_windows
from aiowandb.history.selection import Selection
from aiowandb.net import Session
from aiowandb.paths import RunRef
from aiowandb.wire.history import Window
from aiowandb.wire.record import RunRecord

# As many as there are concurrent transfers by default. A page of each is in memory.
_RUNS_AHEAD = 16
_BYTES_AHEAD = 32 << 20
# Runs whose rows fit into one response.
_RUNS_PER_GROUP = 100
# A page of Parquet has no more rows.
_PAGE_ROWS = 16_384


class _Ahead(NamedTuple):
    """A run that is read ahead: its pages, their size, and the changes that they may miss."""

    pages: ReadAhead[Page]
    bytes: float
    changes: int
    # Those that it requests, if they were not there.
    planning: SharedPlans | None


class _Reader:
    """Reads single runs. It has no reference to their list or to the loop, so that reading ahead
    ends when these are garbage-collected."""

    def __init__(self, session: Session, selection: Selection) -> None:
        self._session = session
        self._selection = selection
        self._decoder = RowDecoder()
        self._size = window_batch()

    async def pages(
        self,
        plans: SharedPlans,
        ref: RunRef,
        others: Sequence[RunRef],
        group: WindowPrefetch | None,
    ) -> AsyncGenerator[Page]:
        """The pages of a run; its plan and rows are requested with those of others."""
        first = await group.take(self._session, ref, self._size) if group else None
        plan = await plans.take(ref, others, is_loop=True)
        async with aclosing(self.scan(plan).pages(first)) as pages:
            async for page in pages:
                yield page

    def scan(self, plan: HistoryPlan) -> Scan:
        return Scan(self._session, plan, self._selection, self._decoder)

    def only_window(self, plan: HistoryPlan) -> Window | None:
        """The window of the run's live rows, if a single window is enough."""
        windows = live_windows(plan, self._selection, self._selection.min_step, plan.row_count)
        return windows[0] if len(windows) == 1 and not plan.is_large else None


class ScanLoop:
    """Reads the rows of one run after another, with the same selection."""

    def __init__(self, session: Session, selection: Selection) -> None:
        self._session = session
        self._selection = selection
        self._reader = _Reader(session, selection)
        self._pattern = Pattern()
        # By the number of the run.
        self._ahead: dict[int, _Ahead] = {}
        self._changes = session.changes
        # For as long as one of their runs is read.
        self._groups: WeakValueDictionary[RunRef, WindowPrefetch] = WeakValueDictionary()
        # Of the runs that were read so far.
        self._row_bytes = 0.0
        self._are_live = False

    async def pages(self, position: Position, ref: RunRef) -> AsyncGenerator[Page]:
        """The pages of the run at this position."""
        found = self._take(position)
        if found is not None:
            self._read_more(position)
        source = self._alone(position, ref) if found is None else found
        async with aclosing(source) as pages:
            async for page in pages:
                if page.count:
                    self._row_bytes = max(self._row_bytes, page.nbytes / page.count)
                yield page

    def drop(self) -> None:
        """Stop reading ahead."""
        for ahead in self._ahead.values():
            ahead.pages.drop()
        self._ahead.clear()

    def _take(self, position: Position) -> ReadAhead[Page] | None:
        """The pages of the run, if they were read ahead."""
        if self._changes != self._session.changes:
            self._changes = self._session.changes
            self._groups.clear()
        found = self._ahead.pop(position.number, None)
        goes_on = found is not None or self._pattern.goes_on(position)
        skipped = [n for n in self._ahead if n < position.number or not goes_on]
        for number in skipped:
            self._ahead.pop(number).pages.drop()
        is_fresh = found is not None and self._is_fresh(found)
        self._pattern.note(position, used=is_fresh, skipped=len(skipped))
        if found is None:
            return None
        if not is_fresh:
            found.pages.drop()
            return None
        found.pages.expire_at(math.inf)
        return found.pages

    def _is_fresh(self, ahead: _Ahead) -> bool:
        return ahead.changes == self._session.changes and not ahead.pages.is_lost

    async def _alone(self, position: Position, ref: RunRef) -> AsyncGenerator[Page]:
        """The pages of a run that was not read ahead."""
        is_loop = self._pattern.is_regular
        others = [record.ref for record in position.page.records()]
        plan = await self._plans(position).take(ref, others, is_loop=is_loop)
        self._are_live = not plan.segments
        self._read_more(position)
        async with aclosing(self._reader.scan(plan).pages()) as pages:
            async for page in pages:
                yield page

    def _read_more(self, position: Position) -> None:
        """Read the next runs ahead, unless other runs were read meanwhile."""
        if position.number != self._pattern.last or not self._session.is_entered:
            return
        for number in [n for n, ahead in self._ahead.items() if not self._is_fresh(ahead)]:
            self._ahead.pop(number).pages.drop()
        most = self._pattern.expected(_RUNS_AHEAD)
        room = _BYTES_AHEAD - sum(ahead.bytes for ahead in self._ahead.values())
        for behind, record in position.after():
            if behind.number in self._ahead:
                continue
            plan = self._plans(behind).known(record.ref)
            if plan is None:
                self._plan_more(behind, record)
                break
            size, group = 0.0, None
            if isinstance(plan, HistoryPlan):
                size = plan.bytes_of(_PAGE_ROWS, self._row_bytes)
                if len(self._ahead) >= most or size > room or plan.is_large:
                    break
                group = self._group(behind, plan)
                self._are_live = not plan.segments
            room -= size
            self._open(behind, record.ref, group, size)
        if following := position.next_page():
            self._plan_more(*following)

    def _plan_more(self, position: Position, record: RunRecord) -> None:
        """Read ahead this run of a page without plans, which requests them, if it is read soon."""
        plans = self._plans(position)
        behind = position.number - (self._pattern.last or 0)
        is_soon = behind <= self._pattern.expected(_RUNS_PER_GROUP)
        is_planned = position.number in self._ahead or plans.known(record.ref) is not None
        is_under_way = any(ahead.planning is plans for ahead in self._ahead.values())
        if is_soon and not is_planned and not is_under_way:
            group = self._page_start(position, record) if self._are_live else None
            self._open(position, record.ref, group, planning=plans)

    def _plans(self, position: Position) -> SharedPlans:
        return position.page.plans(self._selection)

    def _open(
        self,
        position: Position,
        ref: RunRef,
        group: WindowPrefetch | None,
        size: float = 0,
        planning: SharedPlans | None = None,
    ) -> None:
        others = [record.ref for record in position.page.records()]
        pages = self._reader.pages(self._plans(position), ref, others, group)
        ahead = self._session.read_ahead(pages)
        ahead.expire_at(anyio.current_time() + neighbours.FRESH_SECONDS)
        self._ahead[position.number] = _Ahead(ahead, size, self._session.changes, planning)

    def _group(self, position: Position, plan: HistoryPlan) -> WindowPrefetch | None:
        """This run and the ones after it whose rows are requested together."""
        if group := self._groups.get(plan.ref):
            return group
        known = (self._plans(other).known(record.ref) for other, record in position.after())
        plans = (other for other in known if isinstance(other, HistoryPlan))
        return self._remember(WindowPrefetch(self._windows((plan, *plans))), plan.ref)

    def _page_start(self, position: Position, record: RunRecord) -> WindowPrefetch | None:
        """The group for runs without plans, which are requested together with their rows."""
        if group := self._groups.get(record.ref):
            return group
        plans = self._plans(position)
        behind = (run for other, run in position.after() if other.page is position.page)
        runs = [run for run in (record, *behind) if plans.known(run.ref) is None]
        windows = self._windows(filter(None, map(expected_plan, runs)))
        fetch = partial(_plan_with_rows, plans, [run.ref for run in runs], windows)
        return self._remember(WindowPrefetch(windows, fetch), record.ref)

    def _windows(self, plans: Iterable[HistoryPlan]) -> list[PlannedRun]:
        """The windows of the first of these runs, as many as fit into one response."""
        windows = ((plan.ref, plan, self._reader.only_window(plan)) for plan in plans)
        known = (run for run in windows if run[2])
        soon = islice(known, self._pattern.expected(_RUNS_PER_GROUP))
        return next(iter(group_windows(soon, self._row_bytes))).runs

    def _remember(self, group: WindowPrefetch, first: RunRef) -> WindowPrefetch | None:
        if first not in group.windows:
            return None
        for ref in group.windows:
            self._groups[ref] = group
        return group


async def _plan_with_rows(
    plans: SharedPlans, refs: Sequence[RunRef], runs: Iterable[PlannedRun]
) -> list[FirstAnswer]:
    """Plan the runs; the rows in expected windows are requested together with the plans."""
    windows = {ref: window for ref, _, window in runs if window}
    rows = await plans.ask([(ref, windows.get(ref)) for ref in refs])
    return [
        FirstAnswer(windows[ref], texts)
        for ref, texts in zip(refs, rows, strict=True)
        if ref in windows
    ]
