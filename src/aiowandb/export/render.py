"""Files made of rows that are here already: the table of runs, a history in one file."""

from __future__ import annotations

from collections.abc import Iterator

import anyio
import pyarrow as pa
from anyio.to_thread import run_sync

from aiowandb.export.folder import Folder
from aiowandb.export.sinks import OpenSink, SinkFile


async def render(
    batches: Iterator[pa.RecordBatch],
    schema: pa.Schema,
    open_sink: OpenSink,
    folder: Folder,
    name: str,
) -> None:
    """Write the batches into a file of the folder, which appears when it is whole."""
    file = await run_sync(SinkFile, folder.draft(name), open_sink, schema)
    try:
        while (batch := await run_sync(next, batches, None)) is not None:
            await run_sync(file.write, batch)
        await run_sync(file.close)
        await run_sync(folder.put, file.path, name)
    finally:
        with anyio.CancelScope(shield=True):
            await run_sync(file.discard)
