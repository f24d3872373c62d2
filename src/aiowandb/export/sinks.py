"""Where batches end. Sinks block: worker threads call them, one call at a time."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.csv as pa_csv

from aiowandb.errors import ExportError
from aiowandb.export.folder import plain_errors
from aiowandb.export.options import ExportOptions, Format
from aiowandb.export.parquet import ParquetSink
from aiowandb.history.columns import json_text


class Sink(Protocol):
    """Takes record batches of one schema, in order."""

    def write(self, batch: pa.RecordBatch) -> None: ...

    def close(self) -> None: ...


# Makes the sink that writes one format into a file.
OpenSink = Callable[[Any, pa.Schema], Sink]


class CsvSink:
    """A CSV file; lists are written as JSON, missing values as nothing."""

    def __init__(self, file: Any, schema: pa.Schema) -> None:
        self._schema = pa.schema([pa.field(field.name, _flat_type(field)) for field in schema])
        self._writer = pa_csv.CSVWriter(file, self._schema)

    def write(self, batch: pa.RecordBatch) -> None:
        arrays = [_flat_array(column) for column in batch.columns]
        self._writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=self._schema))

    def close(self) -> None:
        self._writer.close()


class SinkFile:
    """A file under way, written by a sink."""

    def __init__(self, path: Path, open_sink: OpenSink, schema: pa.Schema) -> None:
        self.path = path
        with plain_errors(path):
            self._file = pa.output_stream(str(path), buffer_size=1 << 20)
            self._sink = open_sink(self._file, schema)

    def write(self, batch: pa.RecordBatch) -> None:
        with plain_errors(self.path):
            self._sink.write(batch)

    def close(self) -> None:
        """Finish the file."""
        with plain_errors(self.path):
            try:
                self._sink.close()
            finally:
                self._file.close()

    def discard(self) -> None:
        """Leave nothing of it, finished or not."""
        if not self._file.closed:
            with suppress(ExportError):
                self.close()
        self.path.unlink(missing_ok=True)


_SINKS: dict[Format, OpenSink] = {"parquet": ParquetSink, "csv": CsvSink}


def sink_for(options: ExportOptions) -> OpenSink:
    """What writes the format of the options."""
    return _SINKS[options.format]


def _flat_type(field: pa.Field) -> pa.DataType:
    nested = pa.types.is_list(field.type) or pa.types.is_dictionary(field.type)
    return pa.string() if nested else field.type


def _flat_array(array: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(array.type):
        return array.dictionary_decode()
    if pa.types.is_list(array.type):
        return pa.array([None if v is None else json_text(v) for v in array.to_pylist()])
    return array
