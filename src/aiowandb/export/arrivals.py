"""How rows get from the event loop, which reads them, into the thread that writes them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TypeAlias

import anyio
import pyarrow as pa

from aiowandb.errors import CommError, ExportError
from aiowandb.export.progress import Reporter
from aiowandb.history.reader import RunBatches
from aiowandb.history.reading import Reading
from aiowandb.paths import RunRef
from aiowandb.threads import Inbox

# What comes of a run, in this order: its name, its rows, and how the reading ended.
Arrival: TypeAlias = RunRef | pa.RecordBatch | Reading | CommError

# While the thread writes one batch the next ones arrive; each run has more in its own stream.
ARRIVALS_AHEAD = 8


async def feed_rows(
    runs: AsyncIterator[RunBatches], count: int, reporter: Reporter, inbox: Inbox[Arrival]
) -> None:
    """Hand over the rows of so many runs, one run after another."""
    async for run in runs:
        count -= 1
        async with run:
            await inbox.put(run.ref)
            try:
                async for batch in run:
                    await inbox.put(batch)
                    reporter.report()
                await inbox.put(run.reading)
            except CommError as error:
                await inbox.put(error)
        reporter.report()
    if count > 0:
        # The task that reads has failed, and its error stops us in a moment.
        await anyio.sleep_forever()


def incoming_runs(inbox: Inbox[Arrival]) -> Iterator[IncomingRun]:
    """In the thread: the runs, each to be read to its end before the next one."""
    for ref in inbox:
        if not isinstance(ref, RunRef):
            raise ExportError(f"Rows arrived that belong to no run: {type(ref).__name__}.")
        yield IncomingRun(ref, inbox)


class IncomingRun:
    """The rows of a run, as they arrive. Behind the last one, `reading` says what was read."""

    def __init__(self, ref: RunRef, inbox: Inbox[Arrival]) -> None:
        self.ref = ref
        self.reading = Reading()
        self._inbox = inbox

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for arrival in self._inbox:
            match arrival:
                case pa.RecordBatch():
                    yield arrival
                case CommError():
                    raise arrival
                case Reading():
                    self.reading = arrival
                    return
                case _:
                    break
        raise ExportError(f"The rows of run {self.ref} came without an end.")
