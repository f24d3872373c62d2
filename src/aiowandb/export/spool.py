"""Rows that wait until all of their columns are known: those of runs on disk, runs in memory.

Batches of many runs have columns of their own, while a stream of Arrow has one schema from its
first batch on.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Iterator

import pyarrow as pa

from aiowandb.export.schema import RowSchema

_COMPRESSED = pa.ipc.IpcWriteOptions(compression="zstd")


class PackedBatches:
    """Batches in memory, each with columns of its own.

    The configs of runs are similar: compression saves most of the memory that they would take.
    """

    def __init__(self) -> None:
        self._packed: list[pa.Buffer] = []

    def add(self, batch: pa.RecordBatch) -> None:
        stream = pa.BufferOutputStream()
        with pa.ipc.new_stream(stream, batch.schema, options=_COMPRESSED) as writer:
            writer.write_batch(batch)
        self._packed.append(stream.getvalue())

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for packed in self._packed:
            yield from pa.ipc.open_stream(packed)


class RowSpool:
    """A temporary file of rows, which is deleted with the object."""

    def __init__(self) -> None:
        self._schema = RowSchema()
        descriptor, self._path = tempfile.mkstemp(prefix="aiowandb-", suffix=".arrows")
        weakref.finalize(self, os.unlink, self._path)
        self._sink = pa.PythonFile(os.fdopen(descriptor, "wb"), "w")
        self._writer: pa.ipc.RecordBatchStreamWriter | None = None
        self._streams = 0

    def add(self, run: str, batch: pa.RecordBatch) -> None:
        """Write the rows of a run behind those that are there."""
        before = self._schema
        self._schema, fitted = before.fit_or_widen(run, batch)
        if self._writer is None or self._schema != before:
            self._end_stream()
            self._writer = pa.ipc.new_stream(self._sink, fitted.schema)
            self._streams += 1
        self._writer.write_batch(fitted)

    def close(self) -> None:
        """Write what is left. Nothing can be added afterwards."""
        self._end_stream()
        self._sink.close()

    def reader(self) -> pa.RecordBatchReader:
        """All rows, from the first one on; their columns are those of all runs."""
        return pa.RecordBatchReader.from_batches(self._schema.arrow, self._batches())

    def _end_stream(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _batches(self) -> Iterator[pa.RecordBatch]:
        with pa.OSFile(self._path, "r") as file:
            for _ in range(self._streams):
                for batch in pa.ipc.open_stream(file):
                    yield self._schema.recast(batch)
