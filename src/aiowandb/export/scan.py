"""The histories of many runs at once, handed over run by run in their order."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Self

import anyio
import anyio.to_thread
import pyarrow as pa
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from aiowandb.errors import AiowandbError, NotFoundError
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


class Batches:
    """The batches of one run, or the error that it ends in; to be closed."""

    def __init__(self, items: MemoryObjectReceiveStream[pa.RecordBatch | Exception]) -> None:
        self._items = items

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._items.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> pa.RecordBatch:
        item = await self._items.__anext__()
        if isinstance(item, Exception):
            raise item
        return item


Lane = tuple[RunRef, Batches]


@asynccontextmanager
async def scan_runs(
    session: Session, selections: Mapping[RunRef, Selection]
) -> AsyncIterator[AsyncIterator[Lane]]:
    """Read ahead in the given runs; leaving the block stops whatever is under way.

    Whoever takes a lane closes it.
    """
    send, lanes = anyio.create_memory_object_stream[Lane](RUNS_AHEAD)
    with lanes:
        try:
            async with task_group() as tasks:
                tasks.start_soon(_open_lanes, session, selections, send)
                yield lanes
                tasks.cancel_scope.cancel()
        finally:
            _close_untaken(lanes)


async def _open_lanes(
    session: Session,
    selections: Mapping[RunRef, Selection],
    lanes: MemoryObjectSendStream[Lane],
) -> None:
    refs = list(selections)
    async with lanes, task_group() as tasks:
        for start in range(0, len(refs), RUNS_A_PLAN):
            plans = await plan_histories(session, refs[start : start + RUNS_A_PLAN])
            for ref, plan in plans.items():
                send, items = anyio.create_memory_object_stream[pa.RecordBatch | Exception](
                    BATCHES_AHEAD
                )
                tasks.start_soon(_read_run, session, plan, selections[ref], send)
                batches = Batches(items)
                try:
                    await lanes.send((ref, batches))
                except BaseException:
                    batches.close()
                    raise


async def _read_run(
    session: Session,
    plan: HistoryPlan | NotFoundError,
    selection: Selection,
    batches: MemoryObjectSendStream[pa.RecordBatch | Exception],
) -> None:
    async with batches:
        if isinstance(plan, NotFoundError):
            await batches.send(plan)
            return
        try:
            async with aclosing(scan_pages(session, plan, selection)) as pages:
                async for page in pages:
                    await batches.send(await anyio.to_thread.run_sync(page.to_batch))
        except AiowandbError as error:
            await batches.send(error)


def _close_untaken(lanes: MemoryObjectReceiveStream[Lane]) -> None:
    while True:
        try:
            _, batches = lanes.receive_nowait()
        except (anyio.WouldBlock, anyio.EndOfStream):
            return
        batches.close()
