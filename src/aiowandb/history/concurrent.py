"""The histories of many runs at once, in few requests and bounded memory.

Each run has a task of its own that fills a stream of batches; several tasks run at once.
"""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import aclosing, asynccontextmanager, suppress
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeAlias

import anyio
import anyio.to_thread
import pyarrow as pa
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from aiowandb.concurrency.tasks import Tasks, each_of, task_group
from aiowandb.errors import CommError, RunsFailedError
from aiowandb.history.decode import RowDecoder
from aiowandb.history.live import WindowPrefetch, group_windows, window_batch
from aiowandb.history.pages import Page
from aiowandb.history.plan import HistoryPlan, plan_batch, plan_histories
from aiowandb.history.reading import Reading, Start
from aiowandb.history.scan import Scan, from_step, live_windows
from aiowandb.history.selection import Selection
from aiowandb.net import FATAL, BatchSize, MemoryQueue, Session, Share, is_server_down
from aiowandb.paths import RunRef
from aiowandb.wire.history import Window

PlanAll = Callable[[Session, Sequence[RunRef], BatchSize], Awaitable[list[HistoryPlan | CommError]]]

# Enough concurrent runs to keep the connections and the writer busy: if each answer takes 50 ms,
# 16 make an export take an eighth longer. In memory are a few batches of each.
_RUNS_AHEAD = 32
_BATCHES_AHEAD = 1
_LARGE_RUNS_AHEAD = 4

# What a run's task sends: batches, then how the reading ended.
BatchStream: TypeAlias = MemoryObjectReceiveStream[pa.RecordBatch | Reading | CommError]


class RunBatches:
    """The batches of one run, to be closed. After the last one, `reading` says what was read."""

    def __init__(self, ref: RunRef, batches: BatchStream) -> None:
        self.ref = ref
        self.reading = Reading()
        self._is_complete = False
        self.stream = batches

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> pa.RecordBatch:
        found = await self._receive()
        if isinstance(found, CommError):
            raise found
        if isinstance(found, Reading):
            self.reading, self._is_complete = found, True
            raise StopAsyncIteration
        return found

    async def _receive(self) -> pa.RecordBatch | Reading | CommError:
        try:
            return await self.stream.receive()
        except anyio.EndOfStream:
            if self._is_complete:
                return self.reading
        # The task that reads has failed, and its error is about to cancel this one.
        await anyio.sleep_forever()
        raise AssertionError("unreachable")

    def close(self) -> None:
        self.stream.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


@asynccontextmanager
async def scan_runs(
    session: Session,
    refs: AsyncIterable[RunRef] | Iterable[RunRef],
    selection: Selection,
    starts: Mapping[RunRef, Start] | None = None,
    plan: PlanAll = plan_histories,
) -> AsyncIterator[AsyncIterator[RunBatches]]:
    """Read ahead in the given runs; give each with its batches, in the order of the runs.

    Runs in `starts` are read from there on; `plan` finds where rows are. A run that fails alone
    raises its error where its batches are read. Leaving the block cancels what is still being read.
    """
    reader = HistoryReader(session, selection, starts or {}, plan)
    async with read_ahead(partial(reader.open_runs, refs)) as runs:
        yield runs


@asynccontextmanager
async def scan_each(
    session: Session, refs: Iterable[RunRef], pages: Callable[[RunRef], AsyncGenerator[Page]]
) -> AsyncIterator[AsyncIterator[RunBatches]]:
    """The same for what W&B returns for one run at a time: `pages` reads a run."""
    async with read_ahead(partial(_open_each, session, refs, pages)) as runs:
        yield runs


class HistoryReader:
    """Plans many runs at once, then reads each in a task of its own, from its start on."""

    def __init__(
        self,
        session: Session,
        selection: Selection,
        starts: Mapping[RunRef, Start],
        plan: PlanAll = plan_histories,
    ) -> None:
        self._session = session
        self._selection = selection
        self._starts = starts
        self._plan = plan
        self._decoder = RowDecoder()
        self._plan_size = plan_batch()
        self._page_size = window_batch()
        self._large = anyio.Semaphore(_LARGE_RUNS_AHEAD)

    async def open_runs(
        self,
        refs: AsyncIterable[RunRef] | Iterable[RunRef],
        runs: MemoryObjectSendStream[RunBatches],
    ) -> None:
        """Send the batches of each run, in the order of the runs."""
        groups, line = _of_one_project(refs, self._plan_size), MemoryQueue(self._session.memory)
        async with runs, aclosing(groups), task_group() as tasks:
            async for group in groups:
                plans = await self._plan(self._session, group, self._plan_size)
                planned = zip(group, plans, map(self._only_window, plans), strict=True)
                for prefetch in group_windows(planned):
                    for ref, plan, _ in prefetch.runs:
                        is_large = not isinstance(plan, CommError) and plan.is_large
                        if is_large:
                            # Here and not in the task: large runs must start in their order, as
                            # the first is awaited first.
                            await self._large.acquire()
                        pages = self._pages(plan, prefetch, is_large=is_large)
                        await open_run(ref, pages, runs, tasks, self._session, line)

    def _only_window(self, plan: HistoryPlan | CommError) -> Window | None:
        """The window of the run's live rows, if one is enough for them."""
        if isinstance(plan, CommError):
            return None
        selection = from_step(self._selection, self._start(plan.ref).step)
        windows = live_windows(plan, selection, selection.min_step, plan.row_count)
        return windows[0] if len(windows) == 1 else None

    def _start(self, ref: RunRef) -> Start:
        return self._starts.get(ref, Start())

    async def _pages(
        self, plan: HistoryPlan | CommError, prefetch: WindowPrefetch, *, is_large: bool
    ) -> AsyncGenerator[Page]:
        try:
            if isinstance(plan, CommError):
                raise plan
            scan = Scan(
                self._session,
                plan,
                self._selection,
                self._decoder,
                self._page_size,
                self._start(plan.ref),
            )
            first = await prefetch.take(self._session, plan.ref, self._page_size)
            async with aclosing(scan.pages(first)) as pages:
                async for page in pages:
                    yield page
        finally:
            if is_large:
                self._large.release()


async def _of_one_project(
    refs: AsyncIterable[RunRef] | Iterable[RunRef], size: BatchSize
) -> AsyncGenerator[list[RunRef]]:
    """The runs in their order, in groups of one project and of limited size."""
    group: list[RunRef] = []
    seen: set[RunRef] = set()
    async with aclosing(each_of(refs)) as every:
        async for ref in every:
            # Runs that are created while others are listed push some onto a second page.
            if ref in seen:
                continue
            seen.add(ref)
            is_other = group and (ref.entity, ref.project) != (group[0].entity, group[0].project)
            if is_other or len(group) >= size.now:
                yield group
                group = []
            group.append(ref)
        if group:
            yield group


async def _open_each(
    session: Session,
    refs: Iterable[RunRef],
    pages: Callable[[RunRef], AsyncGenerator[Page]],
    runs: MemoryObjectSendStream[RunBatches],
) -> None:
    """Send the batches of each run, where runs are not planned together."""
    line = MemoryQueue(session.memory)
    async with runs, task_group() as tasks:
        for ref in refs:
            await open_run(ref, pages(ref), runs, tasks, session, line)


async def open_run(
    ref: RunRef,
    pages: AsyncGenerator[Page],
    runs: MemoryObjectSendStream[RunBatches],
    tasks: Tasks,
    session: Session,
    line: MemoryQueue,
) -> None:
    send, batches = anyio.create_memory_object_stream[pa.RecordBatch | Reading | CommError](
        _BATCHES_AHEAD
    )
    tasks.start_soon(_fill, pages, send, session, line.join())
    try:
        await runs.send(RunBatches(ref, batches))
    except BaseException:
        batches.close()
        raise


async def _fill(
    pages: AsyncGenerator[Page],
    batches: MemoryObjectSendStream[pa.RecordBatch | Reading | CommError],
    session: Session,
    share: Share,
) -> None:
    """Send the batches, or the error if the run alone fails, until the receiver is closed."""
    reading = Reading()
    async with batches:
        with share, suppress(anyio.BrokenResourceError):
            try:
                async with aclosing(pages):
                    while page := await _next_page(pages, share):
                        for batch in await page.batches():
                            await batches.send(batch)
                        reading.add(page.count, page.ends)
                await batches.send(reading)
            except FATAL:
                raise
            except CommError as error:
                if await is_server_down(session, error):
                    raise
                await batches.send(error)


async def _next_page(pages: AsyncGenerator[Page], share: Share) -> Page | None:
    """The next page, requested as soon as there is memory for it; None after the last one.

    All of the page before has been sent, but for a last batch that waits to be received.
    """
    waiting = min(share.size, share.batch_bytes)
    await share.reserve(waiting)
    page = await anext(pages, None)
    if page:
        share.expected = size = page.nbytes
        await share.resize(waiting + size)
    return page


@asynccontextmanager
async def read_ahead(
    open_all: Callable[[MemoryObjectSendStream[RunBatches]], Coroutine[Any, Any, None]],
) -> AsyncIterator[AsyncIterator[RunBatches]]:
    send, runs = anyio.create_memory_object_stream[RunBatches](_RUNS_AHEAD)
    with runs:
        try:
            async with task_group() as tasks:
                tasks.start_soon(open_all, send)
                yield runs
                tasks.cancel_scope.cancel()
        finally:
            _close_unread(runs)


def _close_unread(runs: MemoryObjectReceiveStream[RunBatches]) -> None:
    while True:
        try:
            runs.receive_nowait().close()
        except (anyio.WouldBlock, anyio.EndOfStream):
            return


async def scan_batches(
    session: Session,
    refs: AsyncIterable[RunRef] | Iterable[RunRef],
    selection: Selection,
    *,
    ordered: bool,
) -> AsyncGenerator[tuple[RunRef, pa.RecordBatch | None]]:
    """The batches of many runs, run by run or as they come; None after a run's last one.

    Runs that fail alone are raised at the end, as one error, after the others are complete.
    """
    failed: dict[RunRef, CommError] = {}
    async with scan_runs(session, refs, selection) as runs:
        merged = _one_by_one(runs, failed) if ordered else _interleaved(runs, failed)
        async with aclosing(merged) as batches:
            async for batch in batches:
                yield batch
    if failed:
        raise RunsFailedError(failed)


async def _one_by_one(
    runs: AsyncIterator[RunBatches], failed: dict[RunRef, CommError]
) -> AsyncGenerator[tuple[RunRef, pa.RecordBatch | None]]:
    async for run in runs:
        async with aclosing(_batches_of(run, failed)) as batches:
            async for batch in batches:
                yield batch


async def _batches_of(
    run: RunBatches, failed: dict[RunRef, CommError]
) -> AsyncGenerator[tuple[RunRef, pa.RecordBatch | None]]:
    async with run:
        try:
            async for batch in run:
                yield run.ref, batch
        except CommError as error:
            failed[run.ref] = error
    yield run.ref, None


async def _interleaved(
    runs: AsyncIterator[RunBatches], failed: dict[RunRef, CommError]
) -> AsyncGenerator[tuple[RunRef, pa.RecordBatch | None]]:
    send, merged = anyio.create_memory_object_stream[tuple[RunRef, pa.RecordBatch | None]]()
    slots = anyio.Semaphore(_RUNS_AHEAD)

    async def forward(
        run: RunBatches, to: MemoryObjectSendStream[tuple[RunRef, pa.RecordBatch | None]]
    ) -> None:
        with to:
            async with aclosing(_batches_of(run, failed)) as batches:
                async for batch in batches:
                    await to.send(batch)
        slots.release()

    async def forward_all() -> None:
        with send:
            await slots.acquire()
            async for run in runs:
                # Cloned here: by the time the task starts, `send` may be closed.
                tasks.start_soon(forward, run, send.clone())
                await slots.acquire()

    # Closed here too, as asyncio may cancel a task before it has started.
    with send, merged:
        async with task_group() as tasks:
            tasks.start_soon(forward_all)
            async for batch in merged:
                yield batch
