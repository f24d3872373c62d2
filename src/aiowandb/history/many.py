"""The histories of many runs at once, in few requests and bounded memory."""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import aclosing, asynccontextmanager
from types import TracebackType
from typing import Self

import anyio
import anyio.to_thread
import msgspec
import pyarrow as pa
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from aiowandb.errors import (
    AuthenticationError,
    CommError,
    ConnectError,
    RateLimitError,
    RunsFailedError,
)
from aiowandb.history.decode import RowDecoder
from aiowandb.history.live import FirstAnswer, read_windows
from aiowandb.history.plan import HistoryPlan, plan_histories
from aiowandb.history.scan import Scan, live_windows
from aiowandb.history.selection import Selection
from aiowandb.net import BatchSize, Session
from aiowandb.paths import RunRef
from aiowandb.tasks import each_of, task_group
from aiowandb.wire.history import Window

# Enough runs under way to keep the connections and the writer busy; what waits in memory
# is a few batches of each.
_RUNS_AHEAD = 32
_BATCHES_AHEAD = 1
# Large runs hold more while they are read, and keep everybody busy by themselves.
_LARGE = 50_000
_LARGE_RUNS_AHEAD = 4
# The values that short live histories of several runs may have together in one answer.
_VALUES_AN_ANSWER = 200_000
# With these nothing else will succeed either.
_FATAL = (AuthenticationError, ConnectError, RateLimitError)


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


@asynccontextmanager
async def scan_runs(
    session: Session,
    refs: AsyncIterable[RunRef] | Iterable[RunRef],
    selection: Selection,
    first_steps: Mapping[RunRef, int] | None = None,
) -> AsyncIterator[AsyncIterator[Lane]]:
    """Read ahead in the given runs, lane by lane in their order.

    Of a run in `first_steps` only rows from that step on are read. A run that fails by
    itself raises its error in its own lane. Leaving the block stops whatever is under way.
    """
    send, lanes = anyio.create_memory_object_stream[Lane](_RUNS_AHEAD)
    with lanes:
        try:
            async with task_group() as tasks:
                tasks.start_soon(
                    _Reader(session, selection, first_steps or {}).open_lanes, refs, send
                )
                yield lanes
                tasks.cancel_scope.cancel()
        finally:
            _close_untaken(lanes)


async def scan_batches(
    session: Session,
    refs: AsyncIterable[RunRef] | Iterable[RunRef],
    selection: Selection,
    *,
    ordered: bool,
) -> AsyncGenerator[tuple[RunRef, pa.RecordBatch | None]]:
    """The batches of many runs, run by run or as they come; None after a run's last one.

    Runs that failed by themselves are told of at the end, when the others are through.
    """
    failed: dict[RunRef, CommError] = {}
    async with scan_runs(session, refs, selection) as lanes:
        merged = _one_by_one(lanes, failed) if ordered else _interleaved(lanes, failed)
        async with aclosing(merged) as batches:
            async for batch in batches:
                yield batch
    if failed:
        raise RunsFailedError(failed)


async def _one_by_one(
    lanes: AsyncIterator[Lane], failed: dict[RunRef, CommError]
) -> AsyncGenerator[tuple[RunRef, pa.RecordBatch | None]]:
    async for lane in lanes:
        async with aclosing(_batches_of(lane, failed)) as batches:
            async for batch in batches:
                yield batch


async def _batches_of(
    lane: Lane, failed: dict[RunRef, CommError]
) -> AsyncGenerator[tuple[RunRef, pa.RecordBatch | None]]:
    async with lane:
        try:
            async for batch in lane:
                yield lane.ref, batch
        except CommError as error:
            failed[lane.ref] = error
    yield lane.ref, None


async def _interleaved(
    lanes: AsyncIterator[Lane], failed: dict[RunRef, CommError]
) -> AsyncGenerator[tuple[RunRef, pa.RecordBatch | None]]:
    send, merged = anyio.create_memory_object_stream[tuple[RunRef, pa.RecordBatch | None]]()
    open_lanes = anyio.Semaphore(_RUNS_AHEAD)

    async def forward(lane: Lane) -> None:
        with send.clone() as own:
            async with aclosing(_batches_of(lane, failed)) as batches:
                async for batch in batches:
                    await own.send(batch)
        open_lanes.release()

    async def forward_all() -> None:
        with send:
            await open_lanes.acquire()
            async for lane in lanes:
                tasks.start_soon(forward, lane)
                await open_lanes.acquire()

    with merged:
        async with task_group() as tasks:
            tasks.start_soon(forward_all)
            async for batch in merged:
                yield batch


class _Reader:
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
                for bundle in self._bundles(some, plans):
                    if bundle.windows:
                        tasks.start_soon(bundle.fetch)
                    for ref, plan in bundle.plans:
                        await self._open_lane(ref, plan, bundle, lanes, tasks)

    def _bundles(
        self, refs: Sequence[RunRef], plans: Sequence[HistoryPlan | CommError]
    ) -> Iterable[_Bundle]:
        """The runs in their order, those with short live rows so that one request has many."""
        bundle, values = _Bundle(self._session, self._page_size), 0
        for ref, plan in zip(refs, plans, strict=True):
            window = None if isinstance(plan, CommError) else self._only_window(plan)
            if window and not isinstance(plan, CommError):
                size = _values(plan, window)
                if values + size > _VALUES_AN_ANSWER and bundle.windows:
                    yield bundle
                    bundle, values = _Bundle(self._session, self._page_size), 0
                values += size
                bundle.windows.append(window)
            bundle.plans.append((ref, plan))
        yield bundle

    def _only_window(self, plan: HistoryPlan) -> Window | None:
        selection = self._selection_of(plan.ref)
        windows = live_windows(plan, selection, selection.min_step, plan.rows)
        return windows[0] if len(windows) == 1 else None

    def _selection_of(self, ref: RunRef) -> Selection:
        first_step = max(self._selection.min_step, self._first_steps.get(ref, 0))
        return msgspec.structs.replace(self._selection, min_step=first_step)

    async def _open_lane(
        self,
        ref: RunRef,
        plan: HistoryPlan | CommError,
        bundle: _Bundle,
        lanes: MemoryObjectSendStream[Lane],
        tasks: TaskGroup,
    ) -> None:
        is_large = not isinstance(plan, CommError) and (plan.rows or 0) > _LARGE
        if is_large:
            # Here and not in the task: the run that is wanted first must have its turn first.
            await self._large.acquire()
        send, batches = anyio.create_memory_object_stream[pa.RecordBatch | CommError](
            _BATCHES_AHEAD
        )
        tasks.start_soon(self._read_run, plan, bundle, send, is_large)
        try:
            await lanes.send(Lane(ref, batches))
        except BaseException:
            batches.close()
            raise

    async def _read_run(
        self,
        plan: HistoryPlan | CommError,
        bundle: _Bundle,
        batches: MemoryObjectSendStream[pa.RecordBatch | CommError],
        is_large: bool,
    ) -> None:
        async with batches:
            try:
                if isinstance(plan, CommError):
                    raise plan
                await self._send_pages(plan, await bundle.answer(plan.ref), batches)
            except _FATAL:
                raise
            except CommError as error:
                await batches.send(error)
            except anyio.BrokenResourceError:
                pass  # the lane was left early
            finally:
                if is_large:
                    self._large.release()

    async def _send_pages(
        self,
        plan: HistoryPlan,
        first: FirstAnswer | None,
        batches: MemoryObjectSendStream[pa.RecordBatch | CommError],
    ) -> None:
        scan = Scan(self._session, plan, self._selection_of(plan.ref), self._decoder)
        async with aclosing(scan.pages(first)) as pages:
            async for page in pages:
                batch = await anyio.to_thread.run_sync(page.to_batch)
                if batch is not None:
                    await batches.send(batch)


class _Bundle:
    """Runs whose first windows of live rows are asked for together."""

    def __init__(self, session: Session, size: BatchSize) -> None:
        self.plans: list[tuple[RunRef, HistoryPlan | CommError]] = []
        self.windows: list[Window] = []
        self._session = session
        self._size = size
        self._answers: dict[RunRef, FirstAnswer] = {}
        self._fetched = anyio.Event()

    async def fetch(self) -> None:
        for answer in await read_windows(self._session, self.windows, self._size):
            self._answers[answer.window.ref] = answer
        self._fetched.set()

    async def answer(self, ref: RunRef) -> FirstAnswer | None:
        """What the run's window was answered with, if it is in the bundle; given once."""
        if all(window.ref != ref for window in self.windows):
            return None
        await self._fetched.wait()
        return self._answers.pop(ref)


def _values(plan: HistoryPlan, window: Window) -> int:
    rows = min(window.samples, window.end - window.first, plan.rows or window.samples)
    return rows * max(1, plan.keys)


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


def _close_untaken(lanes: MemoryObjectReceiveStream[Lane]) -> None:
    while True:
        try:
            lanes.receive_nowait().close()
        except (anyio.WouldBlock, anyio.EndOfStream):
            return
