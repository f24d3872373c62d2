"""A part while it is being written: run after run, and complete in the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from aiowandb.export.parquet import ParquetSink
from aiowandb.export.schema import RowSchema
from aiowandb.export.sinks import SinkFile


class PartWriter:
    """Rows on their way into one Parquet file. All calls block.

    The last rows can be taken back, and the schema may widen half-way: then the file
    is made of what was written, at the end.
    """

    def __init__(self, path: Path, schema: RowSchema) -> None:
        self._path = path
        self.rows = 0
        self._rolled_back: list[range] = []
        self._schema = schema
        self._pieces: list[SinkFile] = []
        self._open(schema)

    def write(self, batch: pa.RecordBatch, schema: RowSchema) -> None:
        """Add rows that fit the schema, which is the one of the last call or a wider one."""
        if schema is not self._schema:
            self._pieces[-1].finish()
            if not self.rows:
                self._pieces.pop().close()
            self._open(schema)
        self._pieces[-1].write(batch)
        self.rows += batch.num_rows

    def rollback_to(self, start: int) -> None:
        """Have none of the rows from this one on."""
        if start < self.rows:
            self._rolled_back.append(range(start, self.rows))

    def finish(self) -> Path:
        """The complete file."""
        self._pieces[-1].finish()
        if len(self._pieces) > 1 or self._rolled_back:
            pieces = list(self._pieces)
            self._open(self._schema)
            for batch in self._kept(pieces):
                self._pieces[-1].write(self._schema.recast(batch))
            self._pieces[-1].finish()
        return self._pieces[-1].path

    def close(self) -> None:
        """Leave nothing that was not moved elsewhere."""
        for piece in self._pieces:
            piece.close()

    def _open(self, schema: RowSchema) -> None:
        self._schema = schema
        path = self._path.with_suffix(f".{len(self._pieces)}")
        self._pieces.append(SinkFile(path, ParquetSink, schema.arrow))

    def _kept(self, pieces: list[SinkFile]) -> Iterator[pa.RecordBatch]:
        row = 0
        for piece in pieces:
            with pq.ParquetFile(piece.path) as file:
                for batch in file.iter_batches():
                    yield from self._without_rolled_back(batch, row)
                    row += batch.num_rows

    def _without_rolled_back(self, batch: pa.RecordBatch, row: int) -> Iterator[pa.RecordBatch]:
        start, end = row, row + batch.num_rows
        for gone in self._rolled_back:
            if start < gone.start < end:
                yield batch.slice(start - row, gone.start - start)
            if gone.start < end:
                start = max(start, gone.stop)
        if start < end:
            yield batch.slice(start - row)
