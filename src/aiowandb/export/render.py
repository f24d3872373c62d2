"""Files made of rows that are here already: the table of runs, a history in one file."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pyarrow as pa

from aiowandb.export.dataset import Dataset
from aiowandb.export.folders.base import Folder
from aiowandb.export.formats import sink_for
from aiowandb.export.options import ExportOptions
from aiowandb.export.parts import Part
from aiowandb.export.sinks import OpenSink, SinkFile
from aiowandb.threads import held, run_sync


async def render(
    batches: Iterator[pa.RecordBatch],
    schema: pa.Schema,
    open_sink: OpenSink,
    folder: Folder,
    name: str,
) -> None:
    """Write the batches into a file of the folder, which appears when it is whole."""
    make = partial(SinkFile, folder.draft(name), open_sink, schema)
    async with held(make, SinkFile.discard) as file:
        while (batch := await run_sync(next, batches, None)) is not None:
            await run_sync(file.write, batch)
        await run_sync(file.close)
        await run_sync(folder.put, file.path, name)


async def show(dataset: Dataset, options: ExportOptions) -> dict[str, int]:
    """Have the rows in the format that is wanted; give the files by name, and their sizes."""
    if options.format in ("parquet", "delta"):
        return {dataset.place(part): part.size for part in dataset.parts}
    files = _rendered_files(dataset, options)
    for name, parts in files.items():
        if not await run_sync(dataset.is_rendered, name, parts):
            batches = dataset.batches(parts)
            schema = dataset.schema.arrow
            await render(batches, schema, sink_for(options), dataset.folder, name)
            await run_sync(dataset.note_rendered, name, parts)
    await run_sync(dataset.forget_rendered, files)
    return {name: dataset.rendered_size(name) for name in files}


def _rendered_files(dataset: Dataset, options: ExportOptions) -> dict[str, list[Part]]:
    """The files that are made of parts: all in one, or one a part."""
    if options.split:
        return {
            f"{dataset.name}/{Path(part.file).stem}.{options.format}": [part]
            for part in dataset.parts
        }
    return {f"{dataset.name}.{options.format}": dataset.parts}
