"""Rows of a table that are made of the rows of histories, run by run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from typing import TypeAlias

import anyio
import pyarrow as pa

from aiowandb.errors import CommError
from aiowandb.history.concurrent import RunBatches, scan_runs
from aiowandb.history.reading import Reading, Start
from aiowandb.history.selection import Selection
from aiowandb.net import Session
from aiowandb.paths import RunRef

# Makes rows of a batch of a run's history.
Convert: TypeAlias = Callable[[RunRef, pa.RecordBatch], Awaitable[pa.RecordBatch]]
# What a run has besides its history, or None.
More: TypeAlias = Callable[[RunRef], Awaitable[pa.RecordBatch | None]]


class ConvertedBatches(RunBatches):
    """The batches of a run, converted, with one more behind them."""

    def __init__(self, run: RunBatches, convert: Convert, more: More) -> None:
        super().__init__(run.ref, run.stream)
        self._convert = convert
        self._more: More | None = more

    async def __anext__(self) -> pa.RecordBatch:
        while True:
            try:
                batch = await self._convert(self.ref, await super().__anext__())
            except StopAsyncIteration:
                more, self._more = self._more, None
                if more is None:
                    raise
                last = await more(self.ref)
                if last is None:
                    raise
                batch = last
            if batch.num_rows:
                return batch


@asynccontextmanager
async def scan_converted(
    session: Session,
    starts: Mapping[RunRef, Start],
    with_history: Collection[RunRef],
    selection: Selection,
    convert: Convert,
    more: More,
) -> AsyncIterator[AsyncIterator[RunBatches]]:
    """Read these runs in their order, of which only some have anything in their histories."""
    read = [ref for ref in starts if ref in with_history]

    async with scan_runs(session, read, selection) as runs:
        yield _InOrder(starts, with_history, runs, convert, more)


class _InOrder(AsyncIterator[RunBatches]):
    """The runs with a history as they come, and the others between them."""

    def __init__(
        self,
        refs: Collection[RunRef],
        with_history: Collection[RunRef],
        runs: AsyncIterator[RunBatches],
        convert: Convert,
        more: More,
    ) -> None:
        self._refs = iter(refs)
        self._with_history = with_history
        self._runs = runs
        self._convert = convert
        self._more = more

    async def __anext__(self) -> RunBatches:
        ref = next(self._refs, None)
        if ref is None:
            raise StopAsyncIteration
        run = await anext(self._runs) if ref in self._with_history else _without_history(ref)
        return ConvertedBatches(run, self._convert, self._more)


def _without_history(ref: RunRef) -> RunBatches:
    send, batches = anyio.create_memory_object_stream[pa.RecordBatch | Reading | CommError](1)
    send.send_nowait(Reading())
    send.close()
    return RunBatches(ref, batches)
