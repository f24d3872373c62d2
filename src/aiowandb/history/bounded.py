"""Batches of a Parquet file that are bounded in bytes, whatever the file does to save space.

A file of 500 kB can stand for 20 GB: a long text in a dictionary costs four bytes for each row that
repeats it, and a column or list of nulls or of the same number costs nothing. So the number of rows
of a batch depends on what is stored of them, on the longest text of each dictionary, and on how
many numbers the lists have.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

_MOST_ROWS = 16_384
# Where rows are long, some may be much longer than others.
_MOST_LONG_ROWS = 1_024
_FIXED_BYTES = 8


class OpenParquet(Protocol):
    """Opens a file; texts of the columns in `read_dictionary` stay in dictionaries."""

    def __call__(self, *, read_dictionary: list[str] | None = None) -> pq.ParquetFile: ...


def bounded_batches(
    parquet: pq.ParquetFile,
    reopen: OpenParquet,
    groups: list[int],
    columns: list[str],
    most_bytes: int,
) -> Iterator[pa.RecordBatch]:
    """The rows of these groups, in batches of about `most_bytes` at most, but at least one row."""
    rows = _rows_per_batch(parquet, reopen, groups, columns, most_bytes)
    # Many files are read at once: more threads for each would only slow them down.
    return parquet.iter_batches(rows, row_groups=groups, columns=columns, use_threads=False)


def _rows_per_batch(
    parquet: pq.ParquetFile,
    reopen: OpenParquet,
    groups: list[int],
    columns: list[str],
    most_bytes: int,
) -> int:
    metadata, row_bytes, most_rows = parquet.metadata, _FIXED_BYTES * len(columns), _MOST_ROWS
    texts = _text_leaves(parquet, frozenset(columns))
    wide = _wide_leaves(parquet, frozenset(columns))
    for index in groups:
        group = metadata.row_group(index)
        if not group.num_rows:
            continue
        if group.total_byte_size > most_bytes:
            most_rows = min(most_rows, _MOST_LONG_ROWS if texts else _MOST_ROWS)
            row_bytes = max(row_bytes, _stored_row_bytes(group, metadata, columns))
        values = sum(group.column(leaf).num_values * width for leaf, width in wide.items())
        if values > most_bytes:
            most_rows = min(most_rows, _MOST_LONG_ROWS)
        row_bytes = max(row_bytes, values // group.num_rows)
        if repeated := _repeated(group, texts, most_bytes):
            row_bytes = max(row_bytes, _longest_row(reopen, index, group, repeated))
    return max(1, min(most_rows, most_bytes // max(row_bytes, 1)))


def _text_leaves(parquet: pq.ParquetFile, columns: Collection[str]) -> dict[int, str]:
    """The leaves of these columns whose values may have any length, with their paths."""
    schema = parquet.metadata.schema
    leaves = {i: schema.column(i) for i in range(len(schema))}
    return {
        i: leaf.path
        for i, leaf in leaves.items()
        if leaf.physical_type == "BYTE_ARRAY" and belongs_to(leaf.path, columns)
    }


def _wide_leaves(parquet: pq.ParquetFile, columns: Collection[str]) -> dict[int, int]:
    """The leaves of these columns of which a row may have many values of a fixed width, or wide
    ones; with the width in bytes."""
    schema = parquet.metadata.schema
    found = {}
    for i in range(len(schema)):
        leaf = schema.column(i)
        width = max(leaf.length or 0, _FIXED_BYTES)
        is_wide = leaf.max_repetition_level or width > _FIXED_BYTES
        if is_wide and leaf.physical_type != "BYTE_ARRAY" and belongs_to(leaf.path, columns):
            found[i] = width
    return found


def belongs_to(path: str, columns: Collection[str]) -> bool:
    """Whether a leaf is part of one of the columns: lists and media have leaves below."""
    while path and path not in columns:
        path = path.rpartition(".")[0]
    return bool(path)


def _stored_row_bytes(
    group: pq.RowGroupMetaData, metadata: pq.FileMetaData, columns: Collection[str]
) -> int:
    """How long a row of the group is on average, by what is stored of these columns."""
    if len(columns) == metadata.num_columns:
        return int(group.total_byte_size // group.num_rows)
    names = frozenset(columns)
    chunks = (group.column(index) for index in range(group.num_columns))
    sizes = (c.total_uncompressed_size for c in chunks if belongs_to(c.path_in_schema, names))
    return int(sum(sizes) // group.num_rows)


def _repeated(group: pq.RowGroupMetaData, texts: dict[int, str], most_bytes: int) -> dict[int, str]:
    """The leaves of these that would be too large if each row had the longest text there is."""
    rows = min(_MOST_ROWS, group.num_rows)
    found = {}
    for leaf, path in texts.items():
        chunk = group.column(leaf)
        if chunk.has_dictionary_page and chunk.total_uncompressed_size * rows > most_bytes:
            found[leaf] = path
    return found


def _longest_row(
    reopen: OpenParquet, index: int, group: pq.RowGroupMetaData, repeated: dict[int, str]
) -> int:
    """How many bytes the texts of a row have if they are the longest of their dictionaries."""
    parquet = reopen(read_dictionary=list(repeated.values()))
    total = 0
    for leaf, path in repeated.items():
        chunk = group.column(leaf)
        # The first row comes with all of its dictionary.
        first = next(
            parquet.iter_batches(1, row_groups=[index], columns=[path], use_threads=False), None
        )
        longest = [_longest(found) for found in _dictionaries(first.columns if first else [])]
        values = -(-chunk.num_values // group.num_rows)
        total += values * max(longest, default=chunk.total_uncompressed_size)
    return total


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
