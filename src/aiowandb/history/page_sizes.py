"""What a reader of a Parquet file takes in memory besides the rows: mostly a page of each column.

A page is decompressed as a whole, whatever the size of a batch, and one of 25 kB may become 500 MB.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from io import SEEK_END
from typing import Any

import pyarrow.parquet as pq

from aiowandb.errors import TooLargeError
from aiowandb.history.bounded import belongs_to
from aiowandb.history.footer import FOOTER_END, Footer, footer_size
from aiowandb.history.thrift import I32, NOTHING, Fields, ThriftReader
from aiowandb.net import MemoryBudget

# What pyarrow has of a column beside its values, while it reads them.
_COLUMN_BYTES = 8_000
# A header of a page has little more than statistics, of a few kilobytes.
_MOST_HEADER = 1 << 16
_KIND, _UNCOMPRESSED, _COMPRESSED = 1, 2, 3
_HEADER: Fields = dict.fromkeys((_KIND, _UNCOMPRESSED, _COMPRESSED), (I32, NOTHING))
_DICTIONARY = 2


def reader_bytes(
    parquet: pq.ParquetFile, content: Any, columns: Collection[str], memory: MemoryBudget
) -> int:
    """About how many bytes a reader of these columns takes; an error if that is too much.

    `content` is all of the file, or None if no row group is larger than a reader may be.
    """
    metadata, needed = parquet.metadata, len(columns) * _COLUMN_BYTES
    groups = (metadata.row_group(index) for index in range(metadata.num_row_groups))
    # Pages are not larger than the row group, and few groups are so large.
    if content and any(group.total_byte_size > memory.reader_bytes for group in groups):
        needed += _page_bytes(content, columns)
    if needed > memory.reader_bytes:
        raise TooLargeError(
            f"Reading {len(columns):,} columns at once takes about {needed:,} bytes, more than"
            " max_memory leaves for that. Increase max_memory, or select keys."
        )
    return needed


def _page_bytes(content: Any, columns: Collection[str]) -> int:
    """How many bytes the largest pages of these columns have together, in one row group."""
    size = content.seek(0, SEEK_END)
    content.seek(max(0, size - FOOTER_END))
    content.seek(max(0, size - footer_size(content.read())))
    footer = Footer(content.read())
    most = 0
    for group in footer.groups:
        wanted = [
            column
            for path, column in zip(footer.paths, group.columns, strict=True)
            if belongs_to(path, columns)
        ]
        if sum(column.end - column.start for column in wanted) > size:
            raise ValueError("a row group is larger than the file")
        most = max(most, sum(_largest(content, column.start, column.end) for column in wanted))
    return most


def _largest(content: Any, start: int, end: int) -> int:
    """The size of the dictionary and of the largest other page between these places."""
    dictionary = largest = 0
    for kind, size in _pages(content, start, end):
        if kind == _DICTIONARY:
            dictionary = max(dictionary, size)
        else:
            largest = max(largest, size)
    return dictionary + largest


def _pages(content: Any, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The kinds of pages, and how many bytes they have when they are decompressed."""
    while start < end:
        content.seek(start)
        reader = ThriftReader(content.read(_MOST_HEADER))
        header = reader.struct(_HEADER)
        if header[_COMPRESSED] < 0:
            raise ValueError("a page ends before it begins")
        yield header[_KIND], header[_UNCOMPRESSED]
        start += reader.position + header[_COMPRESSED]
