"""Rows straight into a sink: no folder, no journal, and nothing to go on with when it is cut."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial

import pyarrow as pa

from aiowandb.errors import CommError
from aiowandb.export.events import RowsWanted, RunFailed, RunFinished, RunStarted
from aiowandb.export.formats import ArrowSink, sink_for
from aiowandb.export.options import ExportOptions
from aiowandb.export.result import RunFailure
from aiowandb.export.sinks import Sink
from aiowandb.export.sources import RowSource
from aiowandb.export.tally import Tally
from aiowandb.threads import held, run_sync

# Makes the sink once the columns are known.
MakeSink = Callable[[pa.Schema], Sink]


def to_stdout(options: ExportOptions) -> MakeSink:
    """What writes the format of the options to the standard output."""
    open_sink = partial(ArrowSink, stream=True) if options.format == "arrow" else sink_for(options)
    return lambda schema: open_sink(pa.PythonFile(sys.stdout.buffer, "w"), schema)


async def stream_table(table: pa.Table, make_sink: MakeSink) -> None:
    """Hand the table to the sink."""
    async with _opened(make_sink, table.schema) as sink:
        for batch in table.to_batches():
            await run_sync(sink.write, batch)


async def stream_rows(source: RowSource, make_sink: MakeSink, tally: Tally) -> list[RunFailure]:
    """Hand the rows to the sink, run by run; give the runs that failed."""
    schema = source.schema.widened(source.keys)
    listed = {ref: run for ref, run in source.runs.items() if not run.is_empty}
    tally.tell(RowsWanted(source.name, len(listed), sum(run.weight for run in listed.values())))
    failed: list[RunFailure] = []
    async with (
        _opened(make_sink, schema.arrow) as sink,
        source.open_lanes(dict.fromkeys(listed, 0)) as lanes,
    ):
        async for lane in lanes:
            run, before = lane.ref.run, tally.rows
            tally.tell(RunStarted(source.name, run))
            try:
                async with lane:
                    async for batch in lane:
                        schema, fitted = await run_sync(schema.fit_or_widen, run, batch)
                        await run_sync(sink.write, fitted)
                        tally.rows += fitted.num_rows
            except CommError as error:
                # What the sink has of it cannot be taken back, so that it is not tried again.
                failed.append(RunFailure(run, error))
                tally.tell(RunFailed(source.name, run, str(error)))
            else:
                tally.tell(RunFinished(source.name, run, tally.rows - before))
    return failed


def _opened(make_sink: MakeSink, schema: pa.Schema) -> AbstractAsyncContextManager[Sink]:
    return held(lambda: make_sink(schema), lambda sink: sink.close())
