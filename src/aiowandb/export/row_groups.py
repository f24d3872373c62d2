"""Row groups of a Parquet file, bounded in rows and in bytes.

Where a group ends depends on its rows alone, not on how they were batched, so that the same rows
give the same bytes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

# How many bytes the texts and lists of a group may have. A group is in memory when it is written,
# and a reader has at least one column of it.
GROUP_BYTES = 32 << 20
_ITEM_BYTES = 8


class RowGroups:
    """Collects batches, and gives the rows of each group that is full."""

    def __init__(self, schema: pa.Schema, most_rows: int) -> None:
        self._schema = schema
        self._most_rows = most_rows
        self._waiting: list[pa.RecordBatch] = []
        self._rows = 0
        # At most as many bytes as these have the texts and lists of the rows that wait.
        self._most_waiting = 0
        self._long = [
            index for index, field in enumerate(schema) if _is_text(field) or _is_list(field)
        ]

    def add(self, batch: pa.RecordBatch) -> Iterator[pa.Table]:
        """Add rows, and give the groups that they complete."""
        while batch.num_rows:
            size = self._size(batch)
            end = self._end(batch, size)
            if end is None:
                self._waiting.append(batch)
                self._rows += batch.num_rows
                self._most_waiting += size
                return
            self._waiting.append(batch.slice(0, end))
            yield self.rest()
            batch = batch.slice(end)

    def rest(self) -> pa.Table:
        """The rows that wait for others."""
        group = pa.Table.from_batches(self._waiting, self._schema)
        self._waiting, self._rows, self._most_waiting = [], 0, 0
        return group

    def _size(self, batch: pa.RecordBatch) -> int:
        return sum(int(batch.column(index).nbytes) for index in self._long)

    def _end(self, batch: pa.RecordBatch, size: int) -> int | None:
        """How many of these rows complete the group; None if they do not."""
        by_rows = self._most_rows - self._rows
        found = by_rows if batch.num_rows >= by_rows else None
        if self._most_waiting + size < GROUP_BYTES:
            return found
        before = sum(sum(self._lengths(waiting)) for waiting in self._waiting)
        sums = list(accumulate(self._lengths(batch)))
        by_bytes = bisect_left(sums, GROUP_BYTES - before) + 1
        return found if by_bytes > len(sums) else min(by_bytes, found or by_bytes)

    def _lengths(self, batch: pa.RecordBatch) -> list[int]:
        """How many bytes the texts and lists of each row have."""
        total: Any = pa.repeat(pa.scalar(0, pa.int64()), batch.num_rows)
        for index in self._long:
            column: Any = batch.column(index)
            if _is_text(self._schema.field(index)):
                lengths = pc.binary_length(column).cast(pa.int64())
            else:
                lengths = pc.list_value_length(column).cast(pa.int64())
                lengths = pc.multiply(lengths, pa.scalar(_ITEM_BYTES, pa.int64()))
            total = pc.add(total, lengths.fill_null(0))
        found: list[int] = total.to_pylist()
        return found


def _is_text(field: pa.Field[Any]) -> bool:
    return bool(pa.types.is_string(field.type) or pa.types.is_large_string(field.type))


def _is_list(field: pa.Field[Any]) -> bool:
    return bool(pa.types.is_list(field.type) or pa.types.is_large_list(field.type))
