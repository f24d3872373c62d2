"""Batches of a Parquet file that are bounded in bytes, whatever the file does to save space.

A file of 500 kB can stand for 20 GB: a long text in a dictionary costs four bytes for each row that
repeats it, and a column or list of nulls or of the same number costs nothing. So the number of rows
of a batch depends on what is stored of them, on the longest text of each dictionary, and on how
many numbers the lists have.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from aiowandb.errors import TooLargeError
from aiowandb.net import MemoryBudget

_MOST_ROWS = 16_384
# Where rows are long, some may be much longer than others.
_MOST_LONG_ROWS = 1_024
_FIXED_BYTES = 8


class OpenParquet(Protocol):
    """Opens a file; texts of the columns in `read_dictionary` stay in dictionaries.

    `metadata` are those of the file, if they are known.
    """

    def __call__(
        self,
        *,
        read_dictionary: list[str] | None = None,
        metadata: pq.FileMetaData | None = None,
    ) -> pq.ParquetFile: ...


def bounded_batches(
    parquet: pq.ParquetFile,
    reopen: OpenParquet,
    groups: list[int],
    columns: list[str],
    memory: MemoryBudget,
    most_rows: int = _MOST_ROWS,
) -> Iterator[pa.RecordBatch]:
    """The rows of these groups, in batches as large as memory allows, but of at least one row."""
    rows = min(most_rows, _rows_per_batch(parquet, reopen, groups, columns, memory))
    # Many files are read at once: more threads for each would only slow them down.
    return parquet.iter_batches(rows, row_groups=groups, columns=columns, use_threads=False)


def _rows_per_batch(
    parquet: pq.ParquetFile,
    reopen: OpenParquet,
    groups: list[int],
    columns: list[str],
    memory: MemoryBudget,
) -> int:
    metadata, row_bytes, most_rows = parquet.metadata, _FIXED_BYTES * len(columns), _MOST_ROWS
    most_bytes = memory.batch_bytes
    leaves = _leaves(parquet, frozenset(columns))
    texts = {i: leaf for i, leaf in leaves.items() if leaf.physical_type == "BYTE_ARRAY"}
    wide = {i: leaf for i, leaf in leaves.items() if _is_wide(leaf)}
    groups = [index for index in groups if metadata.row_group(index).num_rows > 0]
    for index in groups:
        group = metadata.row_group(index)
        if group.total_byte_size > most_bytes:
            most_rows = min(most_rows, _MOST_LONG_ROWS if texts else _MOST_ROWS)
            row_bytes = max(row_bytes, _stored_row_bytes(parquet, index, leaves, most_bytes))
        if wide:
            _require_metadata(parquet, index, wide)
            values = sum(group.column(i).num_values * _width(leaf) for i, leaf in wide.items())
            if values > most_bytes:
                most_rows = min(most_rows, _MOST_LONG_ROWS)
            row_bytes = max(row_bytes, values // group.num_rows)
    _require_room(row_bytes, memory)
    if texts:
        with_dictionaries = reopen(read_dictionary=_paths(texts), metadata=metadata)
        longest = (_longest_texts(with_dictionaries, index, texts) for index in groups)
        row_bytes = max((row_bytes, *longest))
    return max(1, min(most_rows, most_bytes // max(row_bytes, 1)))


def _require_metadata(parquet: pq.ParquetFile, index: int, leaves: Collection[int]) -> None:
    """An error if the metadata of these leaves of a row group are malformed.

    pyarrow ends the process if it is asked for such metadata: its C++ throws what Python cannot
    catch. So no leaf is asked for its own before its reader was made. A batch without rows reads no
    page; `ParquetFile.iter_batches` itself refuses to read one.
    """
    next(parquet.reader.iter_batches(0, [index], list(leaves), False), None)


def _require_room(row_bytes: int, memory: MemoryBudget) -> None:
    if row_bytes > memory.response_bytes:
        raise TooLargeError(
            f"Rows of a Parquet file have {row_bytes:,} bytes on average, and max_memory leaves"
            f" room for {memory.response_bytes:,}. Increase max_memory, or select keys."
        )


_Leaves = Mapping[int, pq.ColumnSchema]


def _leaves(parquet: pq.ParquetFile, columns: Collection[str]) -> _Leaves:
    """The leaves of these columns, by their number in a row group."""
    schema = parquet.metadata.schema
    leaves = ((i, schema.column(i)) for i in range(len(schema)))
    return {i: leaf for i, leaf in leaves if belongs_to(leaf.path, columns)}


def _paths(leaves: _Leaves) -> list[str]:
    return [leaf.path for leaf in leaves.values()]


def _is_wide(leaf: pq.ColumnSchema) -> bool:
    """Whether a row may have many values of a fixed width, or wide ones."""
    return bool(leaf.max_repetition_level) or _width(leaf) > _FIXED_BYTES


def _width(leaf: pq.ColumnSchema) -> int:
    return max(leaf.length or 0, _FIXED_BYTES)


def belongs_to(path: str, columns: Collection[str]) -> bool:
    """Whether a leaf is part of one of the columns: lists and media have leaves below."""
    while path and path not in columns:
        path = path.rpartition(".")[0]
    return bool(path)


def _stored_row_bytes(parquet: pq.ParquetFile, index: int, leaves: _Leaves, most_bytes: int) -> int:
    """How long a row of the group is on average, by what is stored of these leaves."""
    group = parquet.metadata.row_group(index)
    of_all = int(group.total_byte_size // group.num_rows)
    if len(leaves) == group.num_columns or of_all * _MOST_ROWS <= most_bytes:
        return of_all
    _require_metadata(parquet, index, leaves)
    return int(sum(group.column(i).total_uncompressed_size for i in leaves) // group.num_rows)


def _longest_texts(parquet: pq.ParquetFile, index: int, texts: _Leaves) -> int:
    """How many bytes the texts of a row have if they are the longest of their dictionaries.

    Whether a column has a dictionary is not asked: a footer may lie. All of these leaves are read.
    """
    group = parquet.metadata.row_group(index)
    lists = {i: leaf.path for i, leaf in texts.items() if leaf.max_repetition_level}
    total = 0
    if single := [leaf.path for i, leaf in texts.items() if i not in lists]:
        found = _dictionaries(_first_row(parquet, index, single).columns)
        total += sum(_longest(each) for each in found)
    for i, path in lists.items():
        first = _first_row(parquet, index, [path])
        longest = max(map(_longest, _dictionaries(first.columns)), default=0)
        total += -(-group.column(i).num_values // group.num_rows) * longest
    return total


def _first_row(parquet: pq.ParquetFile, index: int, columns: list[str]) -> pa.RecordBatch:
    batches = parquet.iter_batches(1, row_groups=[index], columns=columns, use_threads=False)
    if (first := next(batches, None)) is None:
        raise ValueError("a row group has fewer rows than it says")
    return first


def _dictionaries(columns: Collection[Any]) -> Iterator[Any]:
    for column in columns:
        if pa.types.is_dictionary(column.type):
            yield column.dictionary
        elif pa.types.is_struct(column.type):
            yield from _dictionaries([column.field(i) for i in range(column.type.num_fields)])
        elif pa.types.is_list(column.type):
            yield from _dictionaries([column.values])


def _longest(texts: Any) -> int:
    found: Any = pc.max(pc.binary_length(texts))
    return int(found.as_py() or 0)
