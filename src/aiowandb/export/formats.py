"""A sink for each format of file but Parquet, which has a module of its own."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from aiowandb.errors import ExportError, UsageError
from aiowandb.export.options import ExportOptions, Format
from aiowandb.export.parquet import ParquetSink
from aiowandb.export.sinks import OpenSink
from aiowandb.history.columns import json_text
from aiowandb.history.kinds import Kind, kind_of

# What makes a spreadsheet take the text of a cell for a formula.
_FORMULA = r"^([=+\-@\t\r\n])"


def sink_for(options: ExportOptions) -> OpenSink:
    """What writes the format of the options into a file."""
    if options.format == "delta":
        raise UsageError("A Delta table is a folder: it cannot be written to a stream.")
    return partial(CsvSink, safe=True) if options.safe_csv else _SINKS[options.format]


class CsvSink:
    """CSV as RFC 4180 has it: text is quoted, a list is JSON, a missing value is nothing.

    In a `safe` one, text that a spreadsheet would run begins with an apostrophe.
    """

    def __init__(self, file: Any, schema: pa.Schema, safe: bool = False) -> None:
        self._schema = schema
        self._safe = safe
        self._written = pa.schema(
            [(self._defused(pa.array([f.name]))[0].as_py(), _csv_type(f.type)) for f in schema]
        )
        self._writer = pa_csv.CSVWriter(
            file, self._written, write_options=pa_csv.WriteOptions(eol="\r\n")
        )

    def write(self, batch: pa.RecordBatch) -> None:
        _check(batch, self._schema)
        columns = [self._defused(_csv_column(column)) for column in batch.columns]
        self._writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=self._written))

    def close(self) -> None:
        self._writer.close()

    def _defused(self, column: pa.Array) -> pa.Array:
        if self._safe and pa.types.is_string(column.type):
            return pc.replace_substring_regex(column, _FORMULA, r"'\1")
        return column


class JsonLinesSink:
    """A JSON object a line, with what was logged in that row and no more."""

    def __init__(self, file: Any, _: pa.Schema) -> None:
        self._file = file

    def write(self, batch: pa.RecordBatch) -> None:
        names = batch.schema.names
        columns = map(_json_values, batch.schema, batch.columns)
        for row in zip(*columns, strict=True):
            found = {name: v for name, v in zip(names, row, strict=True) if v is not None}
            self._file.write(orjson.dumps(found, option=orjson.OPT_APPEND_NEWLINE))

    def close(self) -> None:
        pass


class ArrowSink:
    """An Arrow IPC file, which is also known as Feather, or a stream of the same for a pipe."""

    def __init__(self, file: Any, schema: pa.Schema, stream: bool = False) -> None:
        self._schema = schema
        # The file format has one dictionary for all batches, and ours have their own.
        fields = [field.with_type(_plain(field.type)) for field in schema]
        self._written = pa.schema(fields)
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        open_writer = pa.ipc.new_stream if stream else pa.ipc.new_file
        self._writer = open_writer(file, self._written, options=options)

    def write(self, batch: pa.RecordBatch) -> None:
        _check(batch, self._schema)
        self._writer.write_batch(batch.cast(self._written))

    def close(self) -> None:
        self._writer.close()


_SINKS: dict[Format, OpenSink] = {
    "parquet": ParquetSink,
    "csv": CsvSink,
    "jsonl": JsonLinesSink,
    "arrow": ArrowSink,
}


def _check(batch: pa.RecordBatch, schema: pa.Schema) -> None:
    if not batch.schema.equals(schema):
        new = sorted(set(batch.schema.names).difference(schema.names)) or batch.schema.names
        raise ExportError(
            f"There are rows with columns that W&B had not announced ({', '.join(new)}), and what"
            " was written before cannot be changed. Export into a folder, which can take them."
        )


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _csv_type(kind: pa.DataType) -> pa.DataType:
    return pa.string() if pa.types.is_list(kind) else _plain(kind)


def _csv_column(column: pa.Array) -> pa.Array:
    if pa.types.is_list(column.type):
        return pa.array([None if v is None else json_text(v) for v in column.to_pylist()])
    return column.cast(_plain(column.type))


def _json_values(field: pa.Field, column: pa.Array) -> Sequence[Any]:
    """The values as orjson takes them; NaN and the infinities as the strings that W&B uses."""
    values: list[Any] = column.to_pylist()
    kind = kind_of(field)
    if kind is Kind.JSON and pa.types.is_string(field.type):
        return [None if value is None else orjson.Fragment(value) for value in values]
    is_finite = kind is not Kind.FLOAT or pc.all(pc.is_finite(column)).as_py() is not False
    if kind is Kind.FLOATS or not is_finite:
        return [None if value is None else orjson.Fragment(json_text(value)) for value in values]
    return values
