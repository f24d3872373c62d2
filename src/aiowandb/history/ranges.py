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
    kinds = {field.name: field.type for field in file.schema_arrow}
    flat = [name for name in names if name in kinds and not pa.types.is_nested(kinds[name])]
    numbers = [name for name in flat if _is_number(kinds[name])]
    found: dict[str, list[Range | None]] = {name: [] for name in flat}
    for group in range(file.metadata.num_row_groups):
        batches = file.iter_batches(_ROWS, row_groups=[group], columns=numbers, use_threads=False)
        pieces = [[_range(column) for column in batch.columns] for batch in batches]
        known = dict(zip(numbers, zip(*pieces, strict=True), strict=True)) if pieces else {}
        for name, ranges in found.items():
            ranges.append(_union(known.get(name, ())))
    return found


def last_step(ranges: Ranges) -> int:
    """The last step of the file, or -1 if it is not known."""
    return max((int(known[1]) for known in ranges.get(STEP, ()) if known), default=-1)


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


def _range(column: pa.Array[Any]) -> Range | None:
    found: Any = pc.min_max(column).as_py()
    low, high = found["min"], found["max"]
    return (low, high) if low is not None and low <= high else None  # of NaN, nothing is known


def _union(ranges: Collection[Range | None]) -> Range | None:
    known = [each for each in ranges if each is not None]
    return (min(low for low, _ in known), max(high for _, high in known)) if known else None
