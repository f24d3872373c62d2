"""Where batches end: files of one format each. Sinks are blocking and run in worker threads."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import BinaryIO, Protocol

import anyio
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from anyio.to_thread import run_sync

from aiowandb.export.result import Format
from aiowandb.history.columns import json_text

# Small enough to be read in parallel and skipped by statistics, large enough to compress.
_ROW_GROUP = 131_072


class Sink(Protocol):
    """Takes record batches of one schema, in order."""

    def write(self, batch: pa.RecordBatch) -> None: ...

    def close(self) -> None: ...


class ParquetSink:
    """A Parquet file with row groups of a useful size however small the batches are."""

    def __init__(self, file: BinaryIO, schema: pa.Schema) -> None:
        self._schema = schema
        floats = [field.name for field in schema if pa.types.is_floating(field.type)]
        self._writer = pq.ParquetWriter(
            file,
            schema,
            compression="zstd",
            # Measurements hardly repeat: a dictionary of them costs CPU and makes the file larger.
            use_dictionary=[field.name for field in schema if field.name not in floats],
            use_byte_stream_split=floats,
        )
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_rows = 0

    def write(self, batch: pa.RecordBatch) -> None:
        self._waiting.append(batch)
        self._waiting_rows += batch.num_rows
        if self._waiting_rows >= _ROW_GROUP:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        if self._waiting:
            table = pa.Table.from_batches(self._waiting, self._schema)
            self._writer.write_table(table, row_group_size=_ROW_GROUP)
            self._waiting.clear()
            self._waiting_rows = 0


class CsvSink:
    """A CSV file; lists are written as JSON, missing values as nothing."""

    def __init__(self, file: BinaryIO, schema: pa.Schema) -> None:
        self._schema = pa.schema([pa.field(field.name, _flat_type(field)) for field in schema])
        self._writer = pa_csv.CSVWriter(file, self._schema)

    def write(self, batch: pa.RecordBatch) -> None:
        arrays = [_flat_array(column) for column in batch.columns]
        self._writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=self._schema))

    def close(self) -> None:
        self._writer.close()


@asynccontextmanager
async def opened_sink(
    format: Format,
    file: BinaryIO,
    schema: pa.Schema,
) -> AsyncIterator[Sink]:
    """The sink that writes this format, closed when the block ends, however it ends."""
    kind: Callable[[BinaryIO, pa.Schema], Sink] = ParquetSink if format == "parquet" else CsvSink
    sink = await run_sync(kind, file, schema)
    try:
        yield sink
    finally:
        with anyio.CancelScope(shield=True):
            await run_sync(sink.close)


def _flat_type(field: pa.Field) -> pa.DataType:
    nested = pa.types.is_list(field.type) or pa.types.is_dictionary(field.type)
    return pa.string() if nested else field.type


def _flat_array(array: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(array.type):
        return array.dictionary_decode()
    if pa.types.is_list(array.type):
        return pa.array([None if v is None else json_text(v) for v in array.to_pylist()])
    return array
