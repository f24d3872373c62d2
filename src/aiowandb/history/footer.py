"""The footer of a Parquet file, read here and not by pyarrow.

pyarrow ends the process when it is asked for the metadata of a column that is malformed: its C++
throws what Python cannot catch. Its reader does not, so that only what must be known before
anything is read is found here: where the columns are, and the statistics of numbers. What the
numbers of fields mean is in `parquet.thrift` of Apache Parquet.
"""

from __future__ import annotations

import struct
from collections.abc import Collection
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from aiowandb.errors import TooLargeError
from aiowandb.history.ranges import Range, Ranges
from aiowandb.history.thrift import BINARY, I64, LIST, NOTHING, STRUCT, Fields, ThriftReader
from aiowandb.net import MemoryBudget

_NUMBER, _BYTES = (I64, NOTHING), (BINARY, NOTHING)
_MAX_LEGACY, _MIN_LEGACY, _MAX, _MIN = 1, 2, 5, 6
_STATISTICS: Fields = dict.fromkeys((_MAX_LEGACY, _MIN_LEGACY, _MAX, _MIN), _BYTES)
_COMPRESSED, _DATA_PAGE, _DICTIONARY_PAGE, _WITH_STATISTICS = 7, 9, 11, 12
_COLUMN: Fields = {
    _COMPRESSED: _NUMBER,
    _DATA_PAGE: _NUMBER,
    _DICTIONARY_PAGE: _NUMBER,
    _WITH_STATISTICS: (STRUCT, _STATISTICS),
}
_META_DATA, _COLUMNS, _SIZE, _ROWS, _ROW_GROUPS = 3, 1, 2, 3, 4
_CHUNK: Fields = {_META_DATA: (STRUCT, _COLUMN)}
_GROUP: Fields = {_COLUMNS: (LIST, _CHUNK), _SIZE: _NUMBER, _ROWS: _NUMBER}
_FILE: Fields = {_ROW_GROUPS: (LIST, _GROUP)}

FOOTER_END = 8  # the length of the footer, and a mark


class _ColumnPlace(NamedTuple):
    start: int
    end: int
    least: bytes | None
    greatest: bytes | None


class _GroupPlaces(NamedTuple):
    rows: int
    size: int
    columns: list[_ColumnPlace]


class Footer:
    """What the end of a file says of it. Errors are Arrow's, or those of `ThriftReader`."""

    def __init__(self, content: bytes | bytearray) -> None:
        self.metadata = pq.read_metadata(pa.BufferReader(content))
        found = ThriftReader(content[-footer_size(content) : -FOOTER_END]).struct(_FILE)
        self.groups = [_row_group(group) for group in found.get(_ROW_GROUPS, [])]
        leaves = self.metadata.schema
        self.schema = leaves.to_arrow_schema()
        self.paths = [leaves.column(index).path for index in range(self.metadata.num_columns)]
        if any(len(group.columns) != len(self.paths) for group in self.groups):
            raise ValueError("a row group has other columns than the file")

    def ranges(self, names: Collection[str]) -> Ranges:
        """The ranges of the values of these columns, by their statistics."""
        found = {}
        for name in names:
            if name in self.paths:
                index, kind = self.paths.index(name), self.schema.field(name).type
                columns = (group.columns[index] for group in self.groups)
                found[name] = [_range(kind, each.least, each.greatest) for each in columns]
        return found


def footer_size(content: bytes | bytearray) -> int:
    """How long a file's footer is, by the last bytes of the file."""
    return int.from_bytes(content[-FOOTER_END:-4], "little") + FOOTER_END


def require_room(end: bytes | bytearray, file_size: int, memory: MemoryBudget) -> None:
    """Raise if the footer of the file with this end takes more memory than there is."""
    if memory.footer_bytes < footer_size(end) <= file_size:
        raise TooLargeError(
            f"History: a Parquet file has a footer of {footer_size(end):,} bytes, and max_memory"
            f" leaves room for one of {memory.footer_bytes:,}."
        )


def _row_group(found: dict[int, Any]) -> _GroupPlaces:
    columns = [_column(column[_META_DATA]) for column in found[_COLUMNS]]
    return _GroupPlaces(found[_ROWS], found[_SIZE], columns)


def _column(found: dict[int, Any]) -> _ColumnPlace:
    start = found.get(_DICTIONARY_PAGE) or found[_DATA_PAGE]
    known = found.get(_WITH_STATISTICS, {})
    least, greatest = known.get(_MIN), known.get(_MAX)
    if least is None or greatest is None:
        least, greatest = known.get(_MIN_LEGACY), known.get(_MAX_LEGACY)
    return _ColumnPlace(start, start + found[_COMPRESSED], least, greatest)


def _range(kind: pa.DataType, least: bytes | None, greatest: bytes | None) -> Range | None:
    code = _CODES.get(kind)
    if code is None or least is None or greatest is None:
        return None
    try:
        (low,), (high,) = struct.unpack(code, least), struct.unpack(code, greatest)
    except struct.error:
        return None
    return (low, high) if low <= high else None


# Unsigned numbers are not among them: in old files their order is that of signed ones.
_CODES: dict[pa.DataType, str] = {
    pa.int32(): "<i",
    pa.int64(): "<q",
    pa.float32(): "<f",
    pa.float64(): "<d",
}
