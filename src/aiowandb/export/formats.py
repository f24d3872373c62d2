"""Sinks for the file formats except Parquet. Sinks block, and one thread at a time calls them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from aiowandb.errors import ExportError, UsageError
from aiowandb.export.folders.base import Folder, plain_errors
from aiowandb.export.options import ExportOptions, Format, Nan
from aiowandb.export.parquet import ParquetSink
from aiowandb.history.columns import Kind, json_text, kind_of
from aiowandb.wire import lenient


@runtime_checkable
class Sink(Protocol):
    """Takes record batches of one schema, in order."""

    def write(self, batch: pa.RecordBatch) -> None: ...

    def close(self) -> None: ...


# Makes the sink that writes one format into a file.
OpenSink = Callable[[Any, pa.Schema], Sink]


class SinkFile:
    """A file that is being written by a sink."""

    def __init__(self, path: Path, open_sink: OpenSink, schema: pa.Schema) -> None:
        self.path = path
        with plain_errors(path):
            self._file = pa.output_stream(str(path), buffer_size=1 << 20)
            self._sink = open_sink(self._file, schema)

    def write(self, batch: pa.RecordBatch) -> None:
        with plain_errors(self.path):
            self._sink.write(batch)

    def finish(self) -> None:
        """Complete the file."""
        with plain_errors(self.path):
            try:
                self._sink.close()
            finally:
                self._file.close()

    def close(self) -> None:
        """Remove the file if it was not moved elsewhere."""
        if not self._file.closed:
            with suppress(ExportError):
                self.finish()
        self.path.unlink(missing_ok=True)


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


# Text that a spreadsheet would take for a formula.
_FORMULA = r"^([=+\-@\t\r\n])"


def sink_for(options: ExportOptions) -> OpenSink:
    """The sink for the format of the options."""
    if options.format == "delta":
        raise UsageError("A Delta table is a folder: it cannot be written to a stream.")
    if options.safe_csv:
        return partial(CsvSink, safe=True)
    if options.format == "jsonl":
        return partial(JsonLinesSink, nan=options.nan or "null")
    return _SINKS[options.format]


class CsvSink:
    """CSV as in RFC 4180: text is quoted, lists are JSON, missing values are empty.

    With `safe`, text that a spreadsheet would run as a formula gets an apostrophe in front.
    """

    def __init__(self, file: Any, schema: pa.Schema, safe: bool = False) -> None:
        self._file = file
        self._schema = schema
        self._safe = safe
        self._file_schema = pa.schema(
            [
                (self._escape_formulas(pa.array([f.name]))[0].as_py(), _csv_type(f.type))
                for f in schema
            ]
        )
        self._put(self._file_schema.empty_table(), header=True)

    def write(self, batch: pa.RecordBatch) -> None:
        _check(batch, self._schema)
        columns = [self._escape_formulas(_csv_column(column)) for column in batch.columns]
        self._put(pa.RecordBatch.from_arrays(columns, schema=self._file_schema), header=False)

    def close(self) -> None:
        pass

    def _put(self, rows: pa.RecordBatch | pa.Table, *, header: bool) -> None:
        lines = pa.BufferOutputStream()
        pa_csv.write_csv(rows, lines, pa_csv.WriteOptions(include_header=header))
        self._file.write(_with_crlf(lines.getvalue().to_pybytes()))

    def _escape_formulas(self, column: pa.Array[Any]) -> pa.Array[Any]:
        if self._safe and pa.types.is_string(column.type):
            return pc.replace_substring_regex(column, _FORMULA, r"'\1")
        return column


class JsonLinesSink:
    """A JSON object per line, with only the keys that were logged in that row.

    NaN and the infinities are null, text, or the bare tokens that some parsers accept.
    """

    def __init__(self, file: Any, _: pa.Schema, nan: Nan = "null") -> None:
        self._file = file
        self._encode = _ENCODERS[nan]

    def write(self, batch: pa.RecordBatch) -> None:
        names = batch.schema.names
        columns = [
            _json_values(field, column, self._encode)
            for field, column in zip(batch.schema, batch.columns, strict=True)
        ]
        for row in zip(*columns, strict=True):
            found = {name: v for name, v in zip(names, row, strict=True) if v is not None}
            self._file.write(orjson.dumps(found, option=orjson.OPT_APPEND_NEWLINE))

    def close(self) -> None:
        pass


class ArrowSink:
    """An Arrow IPC file, also known as Feather, or an IPC stream for a pipe."""

    def __init__(self, file: Any, schema: pa.Schema, stream: bool = False) -> None:
        self._schema = schema
        # A file has one dictionary for all batches, and ours have one each.
        fields = [field.with_type(_plain(field.type)) for field in schema]
        self._file_schema = pa.schema(fields)
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        open_writer = pa.ipc.new_stream if stream else pa.ipc.new_file
        self._writer = open_writer(file, self._file_schema, options=options)

    def write(self, batch: pa.RecordBatch) -> None:
        _check(batch, self._schema)
        self._writer.write_batch(batch.cast(self._file_schema))

    def close(self) -> None:
        self._writer.close()


_SINKS: dict[Format, OpenSink] = {
    "parquet": ParquetSink,
    "csv": CsvSink,
    "arrow": ArrowSink,
}


def _check(batch: pa.RecordBatch, schema: pa.Schema) -> None:
    if not batch.schema.equals(schema):
        new = sorted(set(batch.schema.names).difference(schema.names)) or batch.schema.names
        raise ExportError(
            f"There are rows with columns that W&B did not announce ({', '.join(new)}), and rows"
            " written before cannot be changed. Export into a folder, which can take them."
        )


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _csv_type(kind: pa.DataType) -> pa.DataType:
    return pa.string() if pa.types.is_list(kind) else _plain(kind)


def _csv_column(column: pa.Array[Any]) -> pa.Array[Any]:
    if pa.types.is_list(column.type):
        return pa.array([None if v is None else json_text(v) for v in column.to_pylist()])
    return column.cast(_plain(column.type))


def _with_crlf(lines: bytes) -> bytes:
    r"""Complete lines of CSV that end in \n, with \r\n as line ends but not within cells.

    Arrow has an option for line ends only from version 26 on. It quotes all text, so line ends
    are those after an even number of quotes.
    """
    pieces = lines.split(b'"')
    pieces[::2] = [piece.replace(b"\n", b"\r\n") for piece in pieces[::2]]
    return b'"'.join(pieces)


def _json_values(field: pa.Field[Any], column: pa.Array[Any], encode: Encoder) -> Sequence[Any]:
    """The values as orjson takes them; those with NaN or infinities already encoded."""
    values: list[Any] = column.to_pylist()
    kind = kind_of(field)
    if kind is Kind.JSON and pa.types.is_string(field.type):
        return [None if value is None else _fragment(value, encode) for value in values]
    is_finite = kind is not Kind.FLOAT or pc.all(pc.is_finite(column)).as_py() is not False
    if kind is Kind.FLOATS or not is_finite:
        return [None if value is None else orjson.Fragment(encode(value)) for value in values]
    return values


def _fragment(text: str, encode: Encoder) -> orjson.Fragment:
    if "NaN" in text or "Infinity" in text:
        text = encode(_parse_non_finite(lenient.loads(text)))
    return orjson.Fragment(text)


def _parse_non_finite(value: Any) -> Any:
    """The value with floats where lists of numbers have strings for NaN and the infinities."""
    if isinstance(value, dict):
        return {key: _parse_non_finite(item) for key, item in value.items()}
    if not isinstance(value, list):
        return value
    if all(item is None or type(item) in (int, float) or _is_non_finite(item) for item in value):
        return [lenient.as_float(item) if _is_non_finite(item) else item for item in value]
    return list(map(_parse_non_finite, value))


def _is_non_finite(value: Any) -> bool:
    return isinstance(value, str) and lenient.as_float(value) is not None


def _with_null(value: Any) -> str:
    try:
        return orjson.dumps(value).decode()  # writes null for NaN
    except TypeError:  # half a surrogate pair, or a very large integer
        return lenient.dumps(_without_nan(value))


def _without_nan(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    return [_without_nan(item) for item in value] if isinstance(value, list) else value


# Encodes a value as JSON.
Encoder = Callable[[Any], str]
_ENCODERS: dict[Nan, Encoder] = {
    "null": _with_null,
    "text": json_text,
    "token": lenient.dumps,
}
