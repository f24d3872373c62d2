"""Lanes: each run's batches in a stream of its own, filled by a task as its reader takes them."""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Callable,
    Iterable,
    Mapping,
)
from contextlib import aclosing, suppress
from types import TracebackType
from typing import Self

import anyio
import msgspec
import pyarrow as pa
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from aiowandb.errors import CommError
from aiowandb.history.bundles import Bundle, bundles
from aiowandb.history.decode import RowDecoder
from aiowandb.history.pages import Page
from aiowandb.history.plan import HistoryPlan, plan_histories
from aiowandb.history.scan import Scan, live_windows
from aiowandb.history.selection import Selection
from aiowandb.net import FATAL, BatchSize, Session, is_everybodys
from aiowandb.paths import RunRef
from aiowandb.tasks import each_of, task_group
from aiowandb.wire.history import Window

_BATCHES_AHEAD = 1
_LARGE_RUNS_AHEAD = 4


class Lane:
    """The batches of one run. Whoever takes a lane closes it."""

    def __init__(
        self, ref: RunRef, batches: MemoryObjectReceiveStream[pa.RecordBatch | CommError]
    ) -> None:
        self.ref = ref
        self._batches = batches

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> pa.RecordBatch:
        found = await self._batches.__anext__()
        if isinstance(found, CommError):
            raise found
        return found

    def close(self) -> None:
        self._batches.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class Reader:
    """Opens the lanes of a scan: plans many runs at once, then reads each in a task."""

    def __init__(
        self, session: Session, selection: Selection, first_steps: Mapping[RunRef, int]
    ) -> None:
        self._session = session
        self._selection = selection
        self._first_steps = first_steps
        self._decoder = RowDecoder()
        self._plan_size = BatchSize(50, 200)
        self._page_size = BatchSize(50, 100)
        self._large = anyio.Semaphore(_LARGE_RUNS_AHEAD)

    async def open_lanes(
        self,
        refs: AsyncIterable[RunRef] | Iterable[RunRef],
        lanes: MemoryObjectSendStream[Lane],
    ) -> None:
        groups = _of_one_project(refs, self._plan_size)
        async with lanes, aclosing(groups), task_group() as tasks:
            async for some in groups:
                plans = await plan_histories(self._session, some, self._plan_size)
                planned = zip(some, plans, map(self._only_window, plans), strict=True)
                for bundle in bundles(planned):
                    tasks.start_soon(bundle.fetch, self._session, self._page_size)
                    for ref, plan, _ in bundle.planned:
                        is_large = not isinstance(plan, CommError) and plan.is_large
                        if is_large:
                            # Here and not in the task: the run that is wanted first must have
                            # its turn first.
                            await self._large.acquire()
                        pages = self._pages(plan, bundle, is_large=is_large)
                        await _open_lane(ref, pages, lanes, tasks)

    def _only_window(self, plan: HistoryPlan | CommError) -> Window | None:
        """The one window that the run's live rows fit in, if they do."""
        if isinstance(plan, CommError):
            return None
        selection = self._selection_of(plan.ref)
        windows = live_windows(plan, selection, selection.min_step, plan.rows)
        return windows[0] if len(windows) == 1 else None

    def _selection_of(self, ref: RunRef) -> Selection:
        first_step = max(self._selection.min_step, self._first_steps.get(ref, 0))
        return msgspec.structs.replace(self._selection, min_step=first_step)

    async def _pages(
        self, plan: HistoryPlan | CommError, bundle: Bundle, *, is_large: bool
    ) -> AsyncGenerator[Page]:
        try:
            if isinstance(plan, CommError):
                raise plan
            selection = self._selection_of(plan.ref)
            scan = Scan(self._session, plan, selection, self._decoder, self._page_size)
            async with aclosing(scan.pages(await bundle.answer(plan.ref))) as pages:
                async for page in pages:
                    yield page
        finally:
            if is_large:
                self._large.release()


async def open_each(
    session: Session,
    refs: Iterable[RunRef],
    pages: Callable[[RunRef], AsyncGenerator[Page]],
    lanes: MemoryObjectSendStream[Lane],
) -> None:
    """Open lanes that each read their run by themselves."""
    async with lanes, task_group() as tasks:
        for ref in refs:
            await _open_lane(ref, pages(ref), lanes, tasks, session)


async def _open_lane(
    ref: RunRef,
    pages: AsyncGenerator[Page],
    lanes: MemoryObjectSendStream[Lane],
    tasks: TaskGroup,
    session: Session | None = None,
) -> None:
    send, batches = anyio.create_memory_object_stream[pa.RecordBatch | CommError](_BATCHES_AHEAD)
    tasks.start_soon(_fill, pages, send, session)
    try:
        await lanes.send(Lane(ref, batches))
    except BaseException:
        batches.close()
        raise


async def _fill(
    pages: AsyncGenerator[Page],
    batches: MemoryObjectSendStream[pa.RecordBatch | CommError],
    session: Session | None,
) -> None:
    """Send the batches, or what fails for the run alone, unless the lane is left early.

    With a session, W&B is asked whether it is the run that fails. Runs that were planned
    together have been asked about that.
    """
    async with batches:
        with suppress(anyio.BrokenResourceError):
            try:
                async with aclosing(pages):
                    async for page in pages:
                        for batch in await page.batches():
                            await batches.send(batch)
            except FATAL:
                raise
            except CommError as error:
                if session and await is_everybodys(session, error):
                    raise
                await batches.send(error)


async def _of_one_project(
    refs: AsyncIterable[RunRef] | Iterable[RunRef], size: BatchSize
) -> AsyncGenerator[list[RunRef]]:
    """The runs in their order, so many at a time, those of one project together."""
    some: list[RunRef] = []
    seen: set[RunRef] = set()
    async with aclosing(each_of(refs)) as every:
        async for ref in every:
            # Runs that are added while others are listed push some onto a second page.
            if ref in seen:
                continue
            seen.add(ref)
            other = some and (ref.entity, ref.project) != (some[0].entity, some[0].project)
            if other or len(some) >= size.now:
                yield some
                some = []
            some.append(ref)
        if some:
            yield some
