"""What was read of a run: how many rows, and marks that identify its first and last row.

A run can be rewound, and other rows be logged under the same steps. The mark of the last row that
was exported shows whether W&B still has it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from hashlib import blake2b
from itertools import islice

import msgspec
import pyarrow as pa

from aiowandb.history.columns import Kind, kind_of
from aiowandb.history.selection import Selection
from aiowandb.wire import lenient
from aiowandb.wire.rows import STEP, TIME

# A row is identified by its time and a few of its values.
_MARKED_VALUES = 8


class RowMark(msgspec.Struct, frozen=True):
    """A row's step, and a digest of its values that is the same for JSON and for columns."""

    step: int
    digest: str

    @classmethod
    def of(cls, row: pa.RecordBatch, keys: Collection[str]) -> RowMark | None:
        """The mark of the only row of a batch, by the values of these keys."""
        index = row.schema.get_field_index(STEP)
        step = row.column(index)[0].as_py() if index >= 0 else None
        if step is None:
            return None
        digest = blake2b(digest_size=12)
        values = _values(row, (TIME, *sorted(keys)))
        for name, value in islice(values, _MARKED_VALUES):
            digest.update(f"{name}={value}\n".encode(errors="replace"))
        return cls(step, digest.hexdigest())


class Ends(msgspec.Struct, frozen=True):
    """The marks of the first and the last of some rows."""

    first: RowMark | None = None
    last: RowMark | None = None

    @classmethod
    def of(cls, batches: Sequence[pa.RecordBatch], selection: Selection) -> Ends:
        """The ends of batches in step order, by their selected columns."""
        filled = [batch for batch in batches if batch.num_rows]
        if not filled:
            return cls()
        ends = (filled[0].slice(0, 1), filled[-1].slice(filled[-1].num_rows - 1))
        return cls(*(RowMark.of(row, selection.columns(row.schema.names) or ()) for row in ends))


class Start(msgspec.Struct, frozen=True):
    """The step from which a run is read, and how many rows it has before that."""

    step: int = 0
    rows_before: int = 0


class Reading(msgspec.Struct):
    """The rows of a run that were read, selected or not."""

    rows: int = 0
    first: RowMark | None = None
    last: RowMark | None = None

    def add(self, rows: int, ends: Ends) -> None:
        """Count more rows, which follow the others."""
        if rows:
            self.first = self.first if self.rows else ends.first
            self.last = ends.last
            self.rows += rows


def _values(row: pa.RecordBatch, names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Names and values that are the same whether the row came as JSON or from Parquet."""
    for name in dict.fromkeys(names):
        index = row.schema.get_field_index(name)
        if index < 0 or name == STEP:
            continue
        value = row.column(index)[0].as_py()
        if isinstance(value, str):
            if kind_of(row.schema.field(index)) is Kind.JSON:
                value = lenient.loads(value)
            if isinstance(value, str):
                value = lenient.as_float(value) or value
        if isinstance(value, bool | str):
            yield name, str(value)
        elif isinstance(value, int | float):
            with suppress(OverflowError):  # integers too large for a float are left out
                yield name, repr(float(value))
