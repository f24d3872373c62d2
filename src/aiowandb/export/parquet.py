"""Parquet files: written so that the same rows give the same bytes, and read run by run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache, partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from aiowandb.export.folders.base import Folder, read_errors
from aiowandb.export.row_groups import RowGroups
from aiowandb.export.stored import RowRange
from aiowandb.history.bounded import bounded_batches
from aiowandb.net import MemoryBudget

# Small enough to be read in parallel and skipped by statistics, large enough to compress;
# with very many columns, only as many rows as fit into memory.
GROUP_ROWS = 131_072
_PAGE_BYTES = 1 << 20
_GROUP_CELLS = 16_000_000
_MIN_ROWS = 1_024
# Of a batch of runs, whose configs may be long: it has 1/32 of that.
_MEMORY = MemoryBudget(1 << 30)


class ParquetSink:
    """A Parquet file whose row groups and pages do not depend on how the rows were batched."""

    def __init__(self, file: Any, schema: pa.Schema) -> None:
        is_float = {field.name: pa.types.is_floating(field.type) for field in schema}
        floats = [name for name, found in is_float.items() if found]
        others = [name for name, found in is_float.items() if not found]
        self._writer = pq.ParquetWriter(
            file,
            schema,
            compression="zstd",
            # Measurements rarely repeat: a dictionary costs CPU and makes the file larger.
            use_dictionary=others,  # type: ignore[arg-type]
            use_byte_stream_split=floats,
            data_page_size=_PAGE_BYTES,
        )
        self._group_rows = min(GROUP_ROWS, max(_MIN_ROWS, _GROUP_CELLS // len(schema)))
        self._groups = RowGroups(schema, self._group_rows)

    def write(self, batch: pa.RecordBatch) -> None:
        for group in self._groups.add(batch):
            self._write_group(group)

    def close(self) -> None:
        try:
            if (rest := self._groups.rest()).num_rows:
                self._write_group(rest)
            self._writer.close()
        finally:
            self._writer.is_open = False  # or its finaliser would fail again, at any time

    def _write_group(self, group: pa.Table) -> None:
        self._writer.write_table(_independent_of_batches(group), row_group_size=self._group_rows)


def _independent_of_batches(group: pa.Table) -> pa.Table:
    """The rows of a group so that the same pages come of them, however they were batched.

    Dictionaries have just the values that occur, in the order of their rows. Values of any length
    lie in one chunk, as a page ends where a chunk or 1,024 of its rows do. Numbers need not be
    copied for that: those of a group are not more than one page.
    """
    for index, field in enumerate(group.schema):
        if pa.types.is_dictionary(field.type):
            values = group.column(index).cast(field.type.value_type)
            group = group.set_column(index, field, values.combine_chunks().dictionary_encode())
        elif not pa.types.is_primitive(field.type):
            group = group.set_column(index, field, group.column(index).combine_chunks())
    return group


@contextmanager
def open_parquet(folder: Folder, name: str) -> Iterator[pq.ParquetFile]:
    """A Parquet file of the folder."""
    with read_errors(name), folder.open(name) as file, pq.ParquetFile(file) as parquet:
        yield parquet


def bounded_rows(
    folder: Folder, name: str, columns: list[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """The rows of a file of the folder, about 32 MB at once."""
    with read_errors(name), folder.open(name) as file:
        yield from bounded_content(file, columns)


def bounded_content(
    file: pa.NativeFile, columns: list[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """The same of an open file."""
    with pq.ParquetFile(file) as parquet:
        names = columns or parquet.schema_arrow.names
        groups = list(range(parquet.num_row_groups))
        reopen = partial(pq.ParquetFile, file)
        yield from bounded_batches(parquet, reopen, groups, names, _MEMORY)


def group_batches(parquet: pq.ParquetFile) -> Iterator[pa.RecordBatch]:
    """The rows of a part, group by group: a batch of several could be of any size."""
    for group in range(parquet.num_row_groups):
        yield from parquet.iter_batches(row_groups=[group])


def count_values(folder: Folder, name: str, columns: Collection[str]) -> Counter[str]:
    """How many values the columns of a file have, not counting nulls."""
    counts = Counter[str]()
    with open_parquet(folder, name) as file:
        # Not the statistics of the file: pyarrow ends the process if they are damaged.
        found = [name for name in file.schema_arrow.names if name in columns]
        for group in range(file.metadata.num_row_groups if found else 0):
            for batch in file.iter_batches(row_groups=[group], columns=found):
                for column, values in zip(found, batch.columns, strict=True):
                    counts[column] += len(values) - values.null_count
    return counts


class PartReader:
    """Reads the rows of parts, run by run; to be closed."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._files: dict[str, pq.ParquetFile] = {}
        self._open_files = ExitStack()
        # Runs next to each other in a new part often were so in an old one.
        self._group = lru_cache(maxsize=2)(self._read_group)

    def batches(self, name: str, rows: RowRange) -> Iterator[pa.RecordBatch]:
        """The rows of one run, from the part whose file has this name."""
        if name not in self._files:
            parquet = self._open_files.enter_context(open_parquet(self._folder, name))
            self._files[name] = parquet
        metadata = self._files[name].metadata
        first, last = rows.offset, rows.offset + rows.stored.rows
        start = 0
        for index in range(metadata.num_row_groups):
            end = start + metadata.row_group(index).num_rows
            if start < last and end > first:
                begin = max(first - start, 0)
                group = self._group(name, index)
                yield from group.slice(begin, min(last, end) - start - begin).to_batches()
            start = end

    def close(self) -> None:
        self._group.cache_clear()
        self._open_files.close()

    def _read_group(self, name: str, index: int) -> pa.Table:
        with read_errors(name):
            return self._files[name].read_row_group(index)
