"""Opens and counts tables: the rows of each run must be those in the journal. All calls block."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from aiowandb.concurrency.threads import until_cancelled
from aiowandb.errors import TooLargeError
from aiowandb.export.folders.base import Folder, read_errors
from aiowandb.export.known_files import KnownFile
from aiowandb.export.originals import ORIGINALS_FILE
from aiowandb.export.parquet import bounded_content, bounded_rows
from aiowandb.export.schema import RUN_ID
from aiowandb.verification.report import Problem

# The most runs of one file that are named.
_NAMED = 20
# W&B has none that are so long; those of a prepared table would be kept in memory.
_LONGEST_RUN_ID = 1024


class RowCounter(Protocol):
    """Counts the rows of a file whose bytes it gets."""

    @property
    def rows(self) -> int: ...

    def update(self, data: bytes, /) -> object: ...


class _JsonLines:
    """Counts the lines of JSON Lines."""

    def __init__(self) -> None:
        self.rows = 0

    def update(self, data: bytes, /) -> None:
        self.rows += data.count(b"\n")


class _Csv:
    """Counts the records of CSV after the header: line ends that are outside of quotes."""

    def __init__(self) -> None:
        self._ends = 0
        self._is_quoted = False
        self._rest = b""

    @property
    def rows(self) -> int:
        return max(0, self._ends - 1)

    def update(self, data: bytes, /) -> None:
        data = self._rest + data
        # The end of a line may be cut in two.
        self._rest = b"\r" if data.endswith(b"\r") else b""
        pieces = data[: len(data) - len(self._rest)].split(b'"')
        for index, piece in enumerate(pieces):
            self._is_quoted ^= index > 0
            if not self._is_quoted:
                self._ends += piece.count(b"\r\n")


def row_counter(name: str) -> RowCounter | None:
    """What counts the rows of a file with this name while it is read, if that is possible."""
    if name.endswith(".jsonl"):
        return _JsonLines()
    return _Csv() if name.endswith(".csv") else None


def is_parquet(name: str) -> bool:
    return name.endswith(".parquet") or name == ORIGINALS_FILE


def check_table(
    opened: Callable[[], pa.NativeFile],
    name: str,
    known: KnownFile | None,
    *,
    is_hashed: bool,
) -> list[Problem]:
    """Open a Parquet file, and count its rows. If there is no hash of it, read all of it."""
    runs = (tuple(known.runs) or None) if known else None
    try:
        with read_errors(name), opened() as content, pq.ParquetFile(content) as file:
            problems = _check_rows(file, content, name, known) if known else []
            if not is_hashed:
                for _ in until_cancelled(bounded_content(content)):
                    pass
    except (pa.ArrowException, OSError, ValueError, TooLargeError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        reason = str(error).partition("\n")[0]
        return [Problem("unreadable", name, f"it is not readable as Parquet: {reason}", runs)]
    return problems


def run_ids(folder: Folder, name: str) -> Counter[str]:
    """The runs in a table, in its order, with their numbers of rows."""
    return _count_runs(bounded_rows(folder, name, [RUN_ID]))


def _check_rows(
    file: pq.ParquetFile, content: pa.NativeFile, name: str, known: KnownFile
) -> list[Problem]:
    found: list[Problem] = []
    rows = file.metadata.num_rows
    if known.rows is not None and rows != known.rows:
        text = f"it has {rows:,} rows instead of {known.rows:,}."
        found.append(Problem("rows", name, text, tuple(known.runs)))
    if not known.parts or RUN_ID not in file.schema_arrow.names:
        return found
    counts = _count_runs(bounded_content(content, [RUN_ID]))
    wanted = {stored.snapshot.run: stored.rows for part in known.parts for stored in part.runs}
    unlike = [run for run in {**wanted, **counts} if counts[run] != wanted.get(run, 0)]
    for run in unlike[:_NAMED]:
        text = f"it has {counts[run]:,} rows of run {run} instead of {wanted.get(run, 0):,}."
        found.append(Problem("rows", name, text, (run,)))
    if rest := unlike[_NAMED:]:
        text = f"the same applies to {len(rest):,} more runs."
        found.append(Problem("rows", name, text, tuple(rest)))
    return found


def _count_runs(batches: Iterable[pa.RecordBatch]) -> Counter[str]:
    """How many rows each run has in these columns of runs."""
    counts = Counter[str]()
    for batch in until_cancelled(batches):
        values = pc.value_counts(batch.column(0))
        names, numbers = values.field("values").to_pylist(), values.field("counts").to_pylist()
        for run, count in zip(map(str, names), numbers, strict=True):
            if len(run) > _LONGEST_RUN_ID:
                raise ValueError(f"the id of a run has {len(run):,} characters")
            counts[run] += count or 0
    return counts
