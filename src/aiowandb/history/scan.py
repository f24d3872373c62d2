"""All rows of a run, page by page: first the Parquet segments, then the live tail."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from tempfile import SpooledTemporaryFile

import anyio.to_thread
import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from aiowandb.errors import NotFoundError, ServerError
from aiowandb.history.columns import STEP
from aiowandb.history.pages import JsonPage, Page, ParquetPage
from aiowandb.history.plan import HistoryPlan
from aiowandb.net import Session
from aiowandb.wire.history import history_page

# Segments up to this size never touch the disk.
_IN_MEMORY = 16 << 20
_BATCH_ROWS = 16_384


class Selection(msgspec.Struct, frozen=True):
    """Which rows and columns of a run: those having all `keys`, steps in `[min_step, max_step)`."""

    keys: tuple[str, ...] | None = None
    min_step: int = 0
    max_step: int | None = None
    page_size: int = 1000

    @property
    def columns(self) -> list[str] | None:
        return None if self.keys is None else list(dict.fromkeys((STEP, *self.keys)))


async def scan_pages(
    session: Session, plan: HistoryPlan, selection: Selection
) -> AsyncGenerator[Page]:
    """Every row of the selection once, in step order."""
    for url in plan.segments:
        async with aclosing(_segment_batches(session, url, selection)) as batches:
            async for batch in batches:
                yield ParquetPage(batch)
    async with aclosing(_live_pages(session, plan, selection)) as pages:
        async for page in pages:
            yield page


async def _segment_batches(
    session: Session, url: str, selection: Selection
) -> AsyncGenerator[pa.RecordBatch]:
    with SpooledTemporaryFile(max_size=_IN_MEMORY) as file:
        await session.download(url, file)
        parquet = await anyio.to_thread.run_sync(_open_parquet, file)
        columns = _present(parquet, selection.columns)
        if columns is None and selection.keys is not None:
            return  # a key that the file does not have: no row has all of them
        batches = parquet.iter_batches(_BATCH_ROWS, columns=columns)
        while (batch := await anyio.to_thread.run_sync(next, batches, None)) is not None:
            selected = await anyio.to_thread.run_sync(_select, batch, selection)
            if selected.num_rows:
                yield selected


async def _live_pages(
    session: Session, plan: HistoryPlan, selection: Selection
) -> AsyncGenerator[Page]:
    start = max(plan.live_from, selection.min_step)
    stop = plan.end if selection.max_step is None else min(plan.end, selection.max_step)
    # Windows lie over steps, not rows: an empty one does not end the scan.
    for first in range(start, stop, selection.page_size):
        end = min(first + selection.page_size, stop)
        answer = await session.ask(history_page(plan.ref, first, end))
        if answer.project is None or answer.project.run is None:
            raise NotFoundError(f"Run {plan.ref} vanished while it was read.")
        if texts := answer.project.run.history:
            yield JsonPage(texts, selection.keys)


def _open_parquet(file: SpooledTemporaryFile[bytes]) -> pq.ParquetFile:
    file.seek(0)
    try:
        return pq.ParquetFile(file)
    except pa.ArrowException as error:
        raise ServerError(f"W&B handed out a Parquet file that cannot be read: {error}") from error


def _present(parquet: pq.ParquetFile, wanted: Sequence[str] | None) -> list[str] | None:
    if wanted is None:
        return None
    names = set(parquet.schema_arrow.names)
    return list(wanted) if names.issuperset(wanted) else None


def _select(batch: pa.RecordBatch, selection: Selection) -> pa.RecordBatch:
    batch = _flat(batch)
    step = batch.column(STEP)
    mask = pc.greater_equal(step, selection.min_step)
    if selection.max_step is not None:
        mask = pc.and_(mask, pc.less(step, selection.max_step))
    for key in selection.keys or ():
        mask = pc.and_(mask, batch.column(key).is_valid())
    return batch if pc.all(mask).as_py() else batch.filter(mask)


def _flat(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Structs become dotted columns, so that both ways of storing a nested key look alike."""
    while any(pa.types.is_struct(field.type) for field in batch.schema):
        batch = pa.Table.from_batches([batch]).flatten().combine_chunks().to_batches()[0]
    return batch
