"""The batches of many runs: pairs to loop over, or a stream that engines read."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Generic, Self, TypeVar

from aiowandb.fields import RunFields

if TYPE_CHECKING:
    import pyarrow as pa

    from aiowandb.export.spool import RowSpool


R = TypeVar("R", bound=RunFields)


class HistoryBatches(Iterator[tuple["R", "pa.RecordBatch"]], Generic[R]):
    """Batches, each with its run. duckdb, polars and pandas can read the object directly.

    They get one table with the ids of the runs as `run_id`. Its columns are known when all rows
    have arrived, so that the rows are kept in a temporary file, which can be read repeatedly.
    """

    def __init__(self, batches: Generator[tuple[R, pa.RecordBatch]]) -> None:
        self._batches = batches
        self._spool: RowSpool | None = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> tuple[R, pa.RecordBatch]:
        return next(self._batches)

    def close(self) -> None:
        """Stop reading and cancel the requests in progress."""
        self._batches.close()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """All rows that no loop has taken before, as one Arrow stream."""
        if self._spool is None:
            self._spool = self._read_all()
        return self._spool.reader().__arrow_c_stream__(requested_schema)  # type: ignore[no-untyped-call]

    def _read_all(self) -> RowSpool:
        from aiowandb.export.spool import RowSpool

        spool = RowSpool()
        for run, batch in self:
            spool.add(run.id, batch)
        spool.close()
        return spool
