"""The histories of many runs at once, in few requests and bounded memory."""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Coroutine,
    Iterable,
    Mapping,
)
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
import pyarrow as pa
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from aiowandb.errors import CommError, RunsFailedError
from aiowandb.history.lanes import Lane, Reader, open_each
from aiowandb.history.pages import Page
from aiowandb.history.selection import Selection
from aiowandb.net import Session
from aiowandb.paths import RunRef
from aiowandb.tasks import task_group

# Enough runs under way to keep the connections and the writer busy; what waits in memory
# is a few batches of each.
_RUNS_AHEAD = 16


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
    reader = Reader(session, selection, first_steps or {})
    async with _lanes(partial(reader.open_lanes, refs)) as lanes:
        yield lanes


@asynccontextmanager
async def scan_each(
    session: Session, refs: Iterable[RunRef], pages: Callable[[RunRef], AsyncGenerator[Page]]
) -> AsyncIterator[AsyncIterator[Lane]]:
    """The same for what W&B hands out a run at a time: `pages` reads one."""
    async with _lanes(partial(open_each, session, refs, pages)) as lanes:
        yield lanes


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


@asynccontextmanager
async def _lanes(
    open_all: Callable[[MemoryObjectSendStream[Lane]], Coroutine[Any, Any, None]],
) -> AsyncIterator[AsyncIterator[Lane]]:
    send, lanes = anyio.create_memory_object_stream[Lane](_RUNS_AHEAD)
    with lanes:
        try:
            async with task_group() as tasks:
                tasks.start_soon(open_all, send)
                yield lanes
                tasks.cancel_scope.cancel()
        finally:
            _close_untaken(lanes)


def _close_untaken(lanes: MemoryObjectReceiveStream[Lane]) -> None:
    while True:
        try:
            lanes.receive_nowait().close()
        except (anyio.WouldBlock, anyio.EndOfStream):
            return
