"""Rows straight into a sink: no folder, no journal, and nothing to go on with when it is cut."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import pyarrow as pa

from aiowandb.errors import CommError, UsageError
from aiowandb.export.events import RowsWanted, RunFailed, RunFinished, RunStarted
from aiowandb.export.formats import ArrowSink, sink_for
from aiowandb.export.options import ExportOptions
from aiowandb.export.result import Clash, RunFailure
from aiowandb.export.sinks import Sink
from aiowandb.export.sources import RowSource
from aiowandb.export.tally import Tally
from aiowandb.threads import held, run_sync

# Makes the sink once the columns are known.
MakeSink = Callable[[pa.Schema], Sink]

_TABLES = frozenset({"runs", "history", "system"})
_NOT_FOR_EYES = frozenset({"parquet", "arrow"})


def sink_at(target: str | Path | Sink, options: ExportOptions) -> MakeSink:
    """What takes one table: a sink of the user's, or the standard output."""
    if len(options.what) > 1 or not _TABLES.issuperset(options.what):
        raise UsageError(f"A sink takes one table, not {' and '.join(options.what)}.")
    if options.split:
        raise UsageError("A sink takes one stream of rows: leave split out.")
    if isinstance(target, str | Path):
        return _to_stdout(options)
    if not isinstance(target, Sink):
        raise UsageError(f"{target!r} is neither a folder nor a sink, which can write and close.")
    return lambda _: target


def _to_stdout(options: ExportOptions) -> MakeSink:
    if options.format in _NOT_FOR_EYES and sys.stdout.isatty():
        raise UsageError(f"A terminal cannot show {options.format}: send it to a file or a pipe.")
    open_sink = partial(ArrowSink, stream=True) if options.format == "arrow" else sink_for(options)
    return lambda schema: open_sink(pa.PythonFile(sys.stdout.buffer, "w"), schema)


async def stream_table(table: pa.Table, make_sink: MakeSink) -> None:
    """Hand the table to the sink."""
    async with _opened(make_sink, table.schema) as sink:
        for batch in table.to_batches():
            await run_sync(sink.write, batch)


async def stream_rows(
    source: RowSource, make_sink: MakeSink, tally: Tally
) -> tuple[list[RunFailure], list[Clash]]:
    """Hand the rows to the sink, run by run; give the runs that failed, and what clashed."""
    schema = source.schema.widened(source.keys)
    listed = {ref: run for ref, run in source.runs.items() if not run.is_empty}
    tally.tell(RowsWanted(source.name, len(listed), sum(run.weight for run in listed.values())))
    failed: list[RunFailure] = []
    clashing = Counter[str]()
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
                        for name in schema.clashes:
                            clashing[name] += fitted.num_rows - fitted.column(name).null_count
            except CommError as error:
                # What the sink has of it cannot be taken back, so that it is not tried again.
                failed.append(RunFailure(run, error))
                tally.tell(RunFailed(source.name, run, str(error)))
            else:
                tally.tell(RunFinished(source.name, run, tally.rows - before))
    return failed, [Clash(name, clashing[name]) for name in sorted(clashing)]


def _opened(make_sink: MakeSink, schema: pa.Schema) -> AbstractAsyncContextManager[Sink]:
    return held(lambda: make_sink(schema), lambda sink: sink.close())
