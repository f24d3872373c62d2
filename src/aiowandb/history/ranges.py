"""Between which values the numbers of each row group are, found by reading them.

A footer has statistics that say so, but pyarrow ends the process when it is asked for malformed
ones. To read a column of a file that is there takes no longer than to check all of its footer.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from aiowandb.wire.rows import STEP

_ROWS = 16_384

# The least and the greatest value of a row group.
Range = tuple[float, float]
# Columns with those of each row group, None if they are not known or no numbers. Columns that the
# file does not have, or that are nested, are missing.
Ranges = Mapping[str, list[Range | None]]


def read_ranges(file: pq.ParquetFile, names: Collection[str]) -> Ranges:
    """The ranges of the values of these columns. Blocks."""
    flat, numbers = _present(file.schema_arrow, names)
    found: dict[str, list[Range | None]] = {name: [] for name in flat}
    for group in range(file.metadata.num_row_groups):
        batches = file.iter_batches(_ROWS, row_groups=[group], columns=numbers, use_threads=False)
        pieces = [_ranges(batch, numbers) for batch in batches]
        for name, ranges in found.items():
            ranges.append(_union([piece.get(name) for piece in pieces]))
    return found


def ranges_of(rows: pa.RecordBatch, names: Collection[str]) -> Ranges:
    """The same for a file with one row group, of which these are all rows."""
    flat, numbers = _present(rows.schema, names)
    found = _ranges(rows, numbers)
    return {name: [found.get(name)] for name in flat}


def last_step(ranges: Ranges) -> int:
    """The last step of the file, or -1 if it is not known."""
    return max((int(known[1]) for known in ranges.get(STEP, ()) if known), default=-1)


def _present(schema: pa.Schema, names: Collection[str]) -> tuple[list[str], list[str]]:
    """Those of the columns that are there and not nested, and those of them that are numbers."""
    kinds = {field.name: field.type for field in schema}
    flat = [name for name in names if name in kinds and not pa.types.is_nested(kinds[name])]
    return flat, [name for name in flat if _is_number(kinds[name])]


def _ranges(rows: pa.RecordBatch, names: Collection[str]) -> dict[str, Range | None]:
    return {name: _range(rows.column(name)) for name in names}


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


def _range(column: pa.Array[Any]) -> Range | None:
    found: Any = pc.min_max(column).as_py()
    low, high = found["min"], found["max"]
    return (low, high) if low is not None and low <= high else None  # of NaN, nothing is known


def _union(ranges: Collection[Range | None]) -> Range | None:
    known = [each for each in ranges if each is not None]
    return (min(low for low, _ in known), max(high for _, high in known)) if known else None
