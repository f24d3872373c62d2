"""Parquet files with the rows of many runs: indexes them, and reads the rows of one run."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from aiowandb.concurrency.threads import run_sync
from aiowandb.errors import ExportError, TooLargeError
from aiowandb.history.bounded import bounded_batches
from aiowandb.history.page_sizes import reader_bytes
from aiowandb.net import MemoryBudget

_BATCH_ROWS = 16_384


class RowSpan(NamedTuple):
    """Consecutive rows of a file."""

    file: Path
    first: int
    size: int


class ParquetRows:
    """Parquet files, indexed once by reading only the column of runs.

    Without such a column, each file is a run with the name of the file.
    """

    def __init__(self, files: Sequence[Path], run_column: str | None) -> None:
        self._files = files
        self._column = run_column
        self.ranges: dict[str, list[RowSpan]] = {}

    async def index(self, memory: MemoryBudget) -> None:
        """Find the rows of each run, once. They are read in batches for which memory has room."""
        self._memory = memory
        if not self.ranges:
            await run_sync(self._index)

    def count(self, run: str) -> int:
        """How many rows the run has."""
        return sum(each.size for each in self.ranges.get(run, ()))

    async def batches(self, run: str) -> AsyncGenerator[pa.RecordBatch]:
        """The rows of the run, without the column of runs and empty columns."""
        for place in self.ranges.get(run, ()):
            batches = self._read(place)
            while (batch := await run_sync(next, batches, None)) is not None:
                yield batch

    def _index(self) -> None:
        for path in self._files:
            with readable(path) as file:
                if self._column is None:
                    self._add(path.stem, RowSpan(path, 0, file.metadata.num_rows))
                    continue
                first = 0
                for batch in batches_of(file, path, self._memory, [self._column]):
                    for run, start, count in _stretches(batch.column(0)):
                        self._add(run, RowSpan(path, first + start, count))
                    first += batch.num_rows

    def _add(self, run: str, new: RowSpan) -> None:
        known = self.ranges.setdefault(run, [])
        if known and known[-1].file == new.file and sum(known[-1][1:]) == new.first:
            new = RowSpan(new.file, known[-1].first, known[-1].size + new.size)
            known.pop()
        known.append(new)

    def _read(self, place: RowSpan) -> Iterator[pa.RecordBatch]:
        with readable(place.file) as file:
            start, end = place.first, place.first + place.size
            counts = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
            begins = list(accumulate(counts, initial=0))
            groups = [i for i in range(len(counts)) if begins[i] < end and begins[i + 1] > start]
            if not groups:
                return
            offset = begins[groups[0]]
            for batch in batches_of(file, place.file, self._memory, groups=groups):
                low, high = max(start - offset, 0), min(end - offset, batch.num_rows)
                if low < high:
                    yield self._wanted(batch.slice(low, high - low))
                offset += batch.num_rows

    def _wanted(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        names = [
            name
            for name, column in zip(batch.schema.names, batch.columns, strict=True)
            if name != self._column and column.null_count < len(column)
        ]
        return batch.select(names)


def batches_of(
    file: pq.ParquetFile,
    path: Path,
    memory: MemoryBudget,
    columns: list[str] | None = None,
    groups: list[int] | None = None,
    most_rows: int = _BATCH_ROWS,
) -> Iterator[pa.RecordBatch]:
    """The rows of a file in batches, or only these columns or row groups of it."""
    if columns is None:
        columns = file.schema_arrow.names
    if groups is None:
        groups = list(range(file.metadata.num_row_groups))
    with path.open("rb") as content:
        reader_bytes(file, content, columns, memory)
    opened = partial(pq.ParquetFile, path)
    return bounded_batches(file, opened, groups, columns, memory, most_rows)


class readable:  # noqa: N801 - is used like a function
    """Opens the file; errors have its name."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> pq.ParquetFile:
        try:
            self._file = pq.ParquetFile(self._path)
        except (pa.ArrowException, OSError) as error:
            raise ExportError(f"{self._path} cannot be read as Parquet: {error}") from error
        return self._file

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        self._file.close()
        if isinstance(error, TooLargeError):
            raise TooLargeError(f"{self._path}: {error}") from error
        if isinstance(error, pa.ArrowException | OSError | LookupError):
            raise ExportError(f"{self._path} cannot be read: {error}") from error


def _stretches(column: Any) -> Iterator[tuple[str, int, int]]:
    """The runs in this column, each with the offset and number of consecutive rows."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    column = pc.cast(column, pa.string()).fill_null("")
    ends = pc.run_end_encode(column)  # type: ignore[attr-defined]
    first = 0
    for run, end in zip(ends.values.to_pylist(), ends.run_ends.to_pylist(), strict=True):
        if run:
            yield run, first, end - first
        first = end
