"""A Parquet file of finished rows: from its URL to record batches, one at a time."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from functools import partial
from io import SEEK_END, BytesIO
from itertools import chain
from typing import Any, NamedTuple

import anyio.to_thread
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from anyio import SpooledTemporaryFile

from aiowandb.errors import ServerError
from aiowandb.history.bounded import OpenParquet, bounded_batches
from aiowandb.history.columns import Kind, kind_of
from aiowandb.history.flattening import flatten, leaf_names
from aiowandb.history.footer import FOOTER_END, Footer, require_room
from aiowandb.history.ownership import FileCheck
from aiowandb.history.page_sizes import reader_bytes
from aiowandb.history.pages import ParquetPage
from aiowandb.history.ranges import Range, Ranges, last_step, ranges_of, read_ranges
from aiowandb.history.reading import Ends
from aiowandb.history.remote import RemoteFile, read_footer
from aiowandb.history.selection import Selection
from aiowandb.net import MemoryBudget, Session
from aiowandb.redaction import Link
from aiowandb.wire.rows import STEP, TIME

# Files up to this size stay in memory.
_IN_MEMORY = 4 << 20
_READ_BUFFER = 1 << 18
_NO_STEPS = "its rows have no steps"


class SegmentRows(NamedTuple):
    """Some rows of a file as a page, and the last step of these rows, selected or not."""

    page: ParquetPage
    last_step: int


class SegmentColumns(NamedTuple):
    """The columns of a file as `read_segment` gives them, and its last step, or -1."""

    kinds: tuple[tuple[str, Kind], ...]
    last_step: int


async def read_segment(
    session: Session,
    link: Link,
    selection: Selection,
    check: FileCheck | None = None,
    *,
    is_large: bool = False,
) -> AsyncGenerator[SegmentRows]:
    """The rows of the file behind this link; of a large file only the needed parts, if possible.

    If the check says that it is the file of another run, that is raised before the first rows.
    """
    everything = not selection.keys and selection.projection is None
    from_start = everything and not selection.min_step
    remote = await RemoteFile.open(session, link, from_start=from_start) if is_large else None
    if remote:
        if check:
            await _check_parts(remote, check)
        segments = _parts(session, remote, selection)
    else:
        segments = _download(session, link, selection, check)
    last_read, last_of_file = -1, -1
    async with aclosing(segments):
        async for segment in segments:
            if isinstance(segment, SegmentRows):
                yield segment
                continue
            while (rows := await anyio.to_thread.run_sync(segment.read)) is not None:
                yield rows
                last_read = max(last_read, rows.last_step)
                if segment.is_read:
                    break
            last_of_file = max(last_of_file, segment.last_step)
    if remote:
        last_of_file = last_step(remote.footer.ranges([STEP]))
    if last_of_file > last_read:
        # Row groups after `max_step` are not read, but files that follow must not return
        # rows with steps that this one has.
        yield SegmentRows(ParquetPage(None, 0), last_of_file)


async def describe_segment(session: Session, link: Link, check: FileCheck) -> SegmentColumns:
    """What the file behind this link has, as its footer says; it must not be of another run."""
    if footer := await read_footer(session, link):
        with _readable():
            ranges = footer.ranges({STEP, *check.columns})
            found = _FileFacts(footer.metadata.num_rows, footer.schema, ranges)
    else:
        async with _downloaded(session, link) as file:
            with _readable():
                names = {STEP, *check.columns}
                found = await anyio.to_thread.run_sync(_describe, file, session.memory, names)
    with _readable():
        _require_steps(found.schema)
        batch = flatten(pa.RecordBatch.from_pylist([], schema=found.schema))
        kinds = tuple((field.name, kind_of(field)) for field in batch.schema)
    check.look(found.rows, found.ranges)
    return SegmentColumns(kinds, last_step(found.ranges))


class _FileFacts(NamedTuple):
    rows: int
    schema: pa.Schema
    ranges: Ranges


def _describe(
    file: SpooledTemporaryFile[bytes], memory: MemoryBudget, columns: Collection[str]
) -> _FileFacts:
    parquet = _open_spool(file, memory)
    reader_bytes(parquet, file.wrapped, columns, memory)
    ranges = read_ranges(parquet, columns)
    return _FileFacts(parquet.metadata.num_rows, parquet.schema_arrow, ranges)


async def _check_parts(remote: RemoteFile, check: FileCheck) -> None:
    """Check a file of which only parts are fetched."""
    with _readable():
        footer = remote.footer
        columns = check.look(footer.metadata.num_rows, footer.ranges(check.columns))
    for name, groups in columns.items():
        file = _sparse_file(remote, await remote.fetch(groups, {name}))
        with _readable():
            await anyio.to_thread.run_sync(check.search, file(), name, groups)
    check.end_file()


def _sparse_file(remote: RemoteFile, parts: Any) -> OpenParquet:
    return partial(pq.ParquetFile, parts, metadata=remote.footer.metadata, pre_buffer=False)


async def _download(
    session: Session, link: Link, selection: Selection, check: FileCheck | None
) -> AsyncGenerator[_Segment | SegmentRows]:
    async with _downloaded(session, link) as file:
        opened = partial(_open_spool, file, session.memory)
        yield _Segment(opened, selection, session.memory, content=file.wrapped, check=check)


@asynccontextmanager
async def _downloaded(session: Session, link: Link) -> AsyncIterator[SpooledTemporaryFile[bytes]]:
    file = SpooledTemporaryFile(max_size=_IN_MEMORY)
    try:
        await session.download(link, file)
        yield file
    finally:
        with anyio.CancelScope(shield=True):
            await file.aclose()


async def _parts(
    session: Session, remote: RemoteFile, selection: Selection
) -> AsyncGenerator[_Segment | SegmentRows]:
    with _readable():
        _require_steps(remote.footer.schema)
        leaves = list(leaf_names(remote.footer.schema))
        columns = _columns(selection, leaves)
        steps = remote.footer.ranges([STEP])[STEP]
        wanted = _row_groups(steps, selection)
        if rows := _unwanted_rows(remote.footer, wanted, steps, selection, leaves):
            yield rows
            return
    for groups in remote.waves(wanted):
        file = _sparse_file(remote, await remote.fetch(groups, columns))
        yield _Segment(file, selection, session.memory, groups)


class _Segment:
    """A file, or some row groups of it. `read` blocks, and returns None after the last rows."""

    def __init__(
        self,
        open_file: OpenParquet,
        selection: Selection,
        memory: MemoryBudget,
        groups: list[int] | None = None,
        content: Any = None,
        check: FileCheck | None = None,
    ) -> None:
        self._check = check
        self._open_file = open_file
        self._selection = selection
        self._memory = memory
        self._reader_bytes = 0
        self._groups = groups
        self._content = content
        self._batches: Iterator[pa.RecordBatch] | None = None
        self._rows_left = 0
        self._is_flat = False
        # The last step of the file, of which some row groups may be left out; -1 if unknown.
        self.last_step = -1

    @property
    def is_read(self) -> bool:
        """Whether all rows were read: another call would only cost a trip to a thread."""
        return self._rows_left <= 0

    def read(self) -> SegmentRows | None:
        with _readable():
            if self._batches is None:
                self._batches = self._open()
            batch = next(self._batches, None)
            if batch is None:
                return None
            self._rows_left -= batch.num_rows
            batch = _steps_as_int64(batch)
            steps = batch.column(STEP)
            step_range: Any = pc.min_max(steps).as_py()
            if step_range["max"] is None or steps.null_count:
                raise ValueError(_NO_STEPS)
            batch = self._selection.filter_steps(batch, step_range)
            if not self._is_flat:
                batch = flatten(batch)
            ends = Ends.of([batch], self._selection)
            wanted = self._selection.filter_keys(batch)
            page = ParquetPage(wanted, batch.num_rows, ends, self._reader_bytes)
            return SegmentRows(page, step_range["max"])

    def _open(self) -> Iterator[pa.RecordBatch]:
        parquet = self._open_file()
        schema = parquet.schema_arrow
        names = schema.names
        if len(set(names)) < len(names):
            raise ValueError("two of its columns have the same name")
        self._is_flat = not any(pa.types.is_nested(field.type) for field in schema)
        columns = _columns(self._selection, names if self._is_flat else list(leaf_names(schema)))
        needed = {*columns, *(self._check.columns if self._check else ())}
        size = reader_bytes(parquet, self._content, needed, self._memory)
        # Otherwise it is little beside the rows.
        self._reader_bytes = size if size > self._memory.batch_bytes else 0
        if self._groups is None:
            _require_steps(schema)
            return self._checked(parquet, columns)
        return self._read(parquet, self._groups, columns)

    def _checked(self, parquet: pq.ParquetFile, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """The rows of the file, if it is of this run."""
        names = set(self._check.columns if self._check else ())
        if self._selection.min_step or self._selection.max_step is not None:
            ranges = read_ranges(parquet, names | {STEP})
            self._look(parquet, ranges)
            return self._read(parquet, _row_groups(ranges[STEP], self._selection), columns)
        groups = list(range(parquet.metadata.num_row_groups))
        batches = self._read(parquet, groups, columns)
        if not names:
            return batches
        if len(groups) > 1 or not names.issubset(columns):
            self._look(parquet, read_ranges(parquet, names))
            return batches
        # Most files are read at once: to read some columns before that would cost a tenth more.
        first = next(batches, None)
        if first is None or first.num_rows < parquet.metadata.num_rows:
            self._look(parquet, read_ranges(parquet, names))
        else:
            self._look(parquet, ranges_of(first, names))
        return chain([] if first is None else [first], batches)

    def _look(self, parquet: pq.ParquetFile, ranges: Ranges) -> None:
        self.last_step = last_step(ranges)
        if self._check:
            self._check.check(parquet, ranges)

    def _read(
        self, parquet: pq.ParquetFile, groups: list[int], columns: list[str]
    ) -> Iterator[pa.RecordBatch]:
        if not groups:
            return iter(())  # older versions of pyarrow would read row group -1
        self._rows_left = sum(parquet.metadata.row_group(group).num_rows for group in groups)
        return bounded_batches(parquet, self._open_file, groups, columns, self._memory)


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, LookupError, TypeError, ValueError, OverflowError) as error:
        raise ServerError(
            f"History: W&B returned a Parquet file that cannot be read: {error}", error
        ) from error


def _open_spool(
    file: SpooledTemporaryFile[bytes],
    memory: MemoryBudget,
    *,
    read_dictionary: list[str] | None = None,
    metadata: pq.FileMetaData | None = None,
) -> pq.ParquetFile:
    content: Any = file.wrapped
    size = content.seek(0, SEEK_END)
    content.seek(max(0, size - FOOTER_END))
    require_room(content.read(), size, memory)
    buffer_size = 0
    if isinstance(content, BytesIO):
        content = pa.BufferReader(content.getvalue())
    else:
        content.seek(0)
        # A row group may be as large as the file: read its columns in chunks.
        buffer_size = _READ_BUFFER
    return pq.ParquetFile(
        content,
        metadata=metadata,
        read_dictionary=read_dictionary,
        buffer_size=buffer_size,
        pre_buffer=False,
    )


def _unwanted_rows(
    footer: Footer,
    groups: Iterable[int],
    steps: Sequence[Range | None],
    selection: Selection,
    names: list[str],
) -> SegmentRows | None:
    """A page for rows none of which has the selected keys, made without reading them."""
    if selection.columns(names) is not None:
        return None
    last, count = -1, 0
    for group in groups:
        known = steps[group]
        if known is None:
            return None
        last, count = max(last, int(known[1])), count + footer.groups[group].rows
    return SegmentRows(ParquetPage(None, count), last)


def _row_groups(steps: Iterable[Range | None], selection: Selection) -> list[int]:
    """The row groups that may have a selected step."""
    return [
        group
        for group, known in enumerate(steps)
        if known is None
        or (
            known[1] >= selection.min_step
            and (selection.max_step is None or known[0] < selection.max_step)
        )
    ]


def _require_steps(schema: pa.Schema) -> None:
    if STEP not in schema.names or pa.types.is_nested(schema.field(STEP).type):
        raise ValueError(_NO_STEPS)


def _columns(selection: Selection, names: list[str]) -> list[str]:
    """The columns to read: those that are selected, and those that marks of rows need."""
    wanted = selection.columns_to_read(names) or ()
    return list(dict.fromkeys((*wanted, *(name for name in (STEP, TIME) if name in names))))


def _steps_as_int64(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with steps as 64-bit integers, or an Arrow error if they are not integers."""
    index = batch.schema.get_field_index(STEP)
    steps = batch.column(index)
    if steps.type == pa.int64():
        return batch
    return batch.set_column(index, STEP, steps.cast(pa.int64()))
