"""The histories of many runs at once, handed over run by run in their order."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager

import anyio
import anyio.to_thread
import pyarrow as pa
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from aiowandb.errors import NotFoundError
from aiowandb.history.plan import HistoryPlan, plan_histories
from aiowandb.history.scan import Selection, scan_pages
from aiowandb.net import Session
from aiowandb.paths import RunRef
from aiowandb.tasks import task_group

# Enough runs under way to keep every connection and the writer busy; what waits in
# memory is at most RUNS_AHEAD * BATCHES_AHEAD batches.
RUNS_AHEAD = 16
BATCHES_AHEAD = 2
RUNS_A_PLAN = 50

Batches = MemoryObjectReceiveStream[pa.RecordBatch]
Lane = tuple[RunRef, Batches]


@asynccontextmanager
async def scan_runs(
    session: Session, refs: Sequence[RunRef], selection: Selection
) -> AsyncIterator[AsyncIterator[Lane]]:
    """Read ahead in the given runs; leaving the block stops whatever is under way.

    Whoever takes a lane closes it.
    """
    send, lanes = anyio.create_memory_object_stream[Lane](RUNS_AHEAD)
    with lanes:
        try:
            async with task_group() as tasks:
                tasks.start_soon(_open_lanes, session, refs, selection, send)
                yield lanes
                tasks.cancel_scope.cancel()
        finally:
            _close_untaken(lanes)


async def _open_lanes(
    session: Session,
    refs: Sequence[RunRef],
    selection: Selection,
    lanes: MemoryObjectSendStream[Lane],
) -> None:
    async with lanes, task_group() as tasks:
        for start in range(0, len(refs), RUNS_A_PLAN):
            chunk = refs[start : start + RUNS_A_PLAN]
            for ref, plan in (await plan_histories(session, chunk)).items():
                if isinstance(plan, NotFoundError):
                    raise plan
                send, batches = anyio.create_memory_object_stream[pa.RecordBatch](BATCHES_AHEAD)
                tasks.start_soon(_read_run, session, plan, selection, send)
                try:
                    await lanes.send((ref, batches))
                except BaseException:
                    batches.close()
                    raise


async def _read_run(
    session: Session,
    plan: HistoryPlan,
    selection: Selection,
    batches: MemoryObjectSendStream[pa.RecordBatch],
) -> None:
    async with batches, aclosing(scan_pages(session, plan, selection)) as pages:
        async for page in pages:
            await batches.send(await anyio.to_thread.run_sync(page.to_batch))


def _close_untaken(lanes: MemoryObjectReceiveStream[Lane]) -> None:
    while True:
        try:
            _, batches = lanes.receive_nowait()
        except (anyio.WouldBlock, anyio.EndOfStream):
            return
        batches.close()
