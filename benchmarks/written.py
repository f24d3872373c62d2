"""The content of a contender's files, read after the clock has stopped."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

_COLUMN = "train/loss"


class Written(msgspec.Struct, frozen=True):
    """How many rows of histories there are, and the sum of one of their columns."""

    rows: int = 0
    total: float = 0.0

    def agrees(self, other: Written) -> bool:
        """Whether both have the same rows, in any order."""
        return self.rows == other.rows and math.isclose(self.total, other.total, rel_tol=1e-9)


def written(folder: Path) -> Written:
    """All Parquet and CSV files in the folder, but for the list of runs and hidden folders."""
    rows, total = 0, 0.0
    for path in folder.rglob("*.*"):
        is_hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix in (".parquet", ".csv") and path.stem != "runs" and not is_hidden:
            column = _column(path)
            rows, total = rows + len(column), total + (pc.sum(column).as_py() or 0.0)
    return Written(rows, total)


def _column(path: Path) -> pa.ChunkedArray[pa.DoubleScalar]:
    if path.suffix == ".parquet":
        return pq.ParquetFile(path).read([_COLUMN]).column(_COLUMN)
    only = pa.csv.ConvertOptions(include_columns=[_COLUMN])
    return pa.csv.read_csv(path, convert_options=only).column(_COLUMN)
