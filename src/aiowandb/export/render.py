"""Files made of rows that are here already: the table of runs, a history in one file."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Never

import pyarrow as pa

from aiowandb.export.dataset import Dataset
from aiowandb.export.folders.base import Folder
from aiowandb.export.formats import sink_for
from aiowandb.export.options import ExportOptions
from aiowandb.export.sinks import OpenSink, SinkFile
from aiowandb.export.stored import Part
from aiowandb.threads import Inbox


def write_file(
    batches: Iterable[pa.RecordBatch],
    schema: pa.Schema,
    open_sink: OpenSink,
    folder: Folder,
    name: str,
) -> None:
    """Write the batches into a file of the folder, which appears when it is complete."""
    with closing(SinkFile(folder.draft(name), open_sink, schema)) as file:
        for batch in batches:
            file.write(batch)
        file.finish()
        folder.put(file.path, name)


def render(dataset: Dataset, options: ExportOptions, inbox: Inbox[Never]) -> dict[str, int]:
    """Have the rows in the format that is wanted; give the files by name, and their sizes."""
    if options.format in ("parquet", "delta"):
        return {dataset.place(part): part.size for part in dataset.parts}
    files = _rendered_files(dataset, options)
    for name, parts in files.items():
        if not dataset.is_rendered(name, parts):
            batches = inbox.checked(dataset.batches(parts))
            schema = dataset.schema.arrow
            write_file(batches, schema, sink_for(options), dataset.folder, name)
            dataset.note_rendered(name, parts)
    dataset.forget_rendered(files)
    return {name: dataset.rendered_size(name) for name in files}


def _rendered_files(dataset: Dataset, options: ExportOptions) -> dict[str, list[Part]]:
    """The files that are made of parts: all in one, or one a part."""
    if options.split:
        return {
            f"{dataset.name}/{Path(part.file).stem}.{options.format}": [part]
            for part in dataset.parts
        }
    return {f"{dataset.name}.{options.format}": dataset.parts}
