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
from aiowandb.history.pages import Page
from aiowandb.history.reader import HistoryReader, RunBatches, open_each
from aiowandb.history.reading import Start
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
    starts: Mapping[RunRef, Start] | None = None,
) -> AsyncIterator[AsyncIterator[RunBatches]]:
    """Read ahead in the given runs; give the batches of one after another, in their order.

    Runs in `starts` are read from there on. A run that fails by itself raises its error among
    its own batches. Leaving the block stops whatever is under way.
    """
    reader = HistoryReader(session, selection, starts or {})
    async with _read_ahead(partial(reader.open_runs, refs)) as runs:
        yield runs


@asynccontextmanager
async def scan_each(
    session: Session, refs: Iterable[RunRef], pages: Callable[[RunRef], AsyncGenerator[Page]]
) -> AsyncIterator[AsyncIterator[RunBatches]]:
    """The same for what W&B hands out a run at a time: `pages` reads one."""
    async with _read_ahead(partial(open_each, session, refs, pages)) as runs:
        yield runs


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
    places = anyio.Semaphore(_RUNS_AHEAD)

    async def forward(
        run: RunBatches, own: MemoryObjectSendStream[tuple[RunRef, pa.RecordBatch | None]]
    ) -> None:
        with own:
            async with aclosing(_batches_of(run, failed)) as batches:
                async for batch in batches:
                    await own.send(batch)
        places.release()

    async def forward_all() -> None:
        with send:
            await places.acquire()
            async for run in runs:
                # Cloned here: when the task begins, all may be over and `send` be closed.
                tasks.start_soon(forward, run, send.clone())
                await places.acquire()

    with merged:
        async with task_group() as tasks:
            tasks.start_soon(forward_all)
            async for batch in merged:
                yield batch


@asynccontextmanager
async def _read_ahead(
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
            _close_untaken(runs)


def _close_untaken(runs: MemoryObjectReceiveStream[RunBatches]) -> None:
    while True:
        try:
            runs.receive_nowait().close()
        except (anyio.WouldBlock, anyio.EndOfStream):
            return
