"""A Parquet file of finished rows: from its URL to record batches, one at a time."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from functools import partial
from io import BytesIO
from typing import Any, NamedTuple

import anyio.to_thread
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from anyio import SpooledTemporaryFile

from aiowandb.errors import ServerError
from aiowandb.history.bounded import OpenParquet, bounded_batches
from aiowandb.history.columns import Kind, json_text, kind_of
from aiowandb.history.ownership import FileCheck
from aiowandb.history.pages import ParquetPage
from aiowandb.history.reading import Ends
from aiowandb.history.remote import RemoteFile, read_footer
from aiowandb.history.selection import Selection
from aiowandb.net import Session
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
        last_of_file = _last_step(remote.metadata)
    if last_of_file > last_read:
        # Row groups after `max_step` are not read, but files that follow must not return
        # rows with steps that this one has.
        yield SegmentRows(ParquetPage(None, 0), last_of_file)


async def describe_segment(session: Session, link: Link, check: FileCheck) -> SegmentColumns:
    """What the file behind this link has, as its footer says; it must not be of another run."""
    metadata = await read_footer(session, link)
    if metadata is None:
        async with _downloaded(session, link) as file:
            with _readable():
                metadata = (await anyio.to_thread.run_sync(_open_spool, file)).metadata
    with _readable():
        schema = metadata.schema.to_arrow_schema()
        batch = _flatten(pa.RecordBatch.from_pylist([], schema=schema))
        kinds = tuple((field.name, kind_of(field)) for field in batch.schema)
        last_step = _last_step(metadata)
    check.look(metadata, last_step)
    return SegmentColumns(kinds, last_step)


async def _check_parts(remote: RemoteFile, check: FileCheck) -> None:
    """Check a file of which only parts are fetched."""
    with _readable():
        columns = check.look(remote.metadata, _last_step(remote.metadata))
    for name, groups in columns.items():
        file = _sparse_file(remote, await remote.fetch(groups, {name}))
        with _readable():
            await anyio.to_thread.run_sync(check.search, file(), name, groups)
    check.end_file()


def _sparse_file(remote: RemoteFile, parts: Any) -> OpenParquet:
    return partial(pq.ParquetFile, parts, metadata=remote.metadata, pre_buffer=False)


async def _download(
    session: Session, link: Link, selection: Selection, check: FileCheck | None
) -> AsyncGenerator[_Segment | SegmentRows]:
    async with _downloaded(session, link) as file:
        most_bytes = session.memory.batch_bytes
        yield _Segment(partial(_open_spool, file), selection, most_bytes, check=check)


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
    leaves = list(_leaves(remote.metadata.schema.to_arrow_schema()))
    columns = _columns(selection, leaves)
    with _readable():
        wanted = list(_row_groups(remote.metadata, selection))
        if rows := _unwanted_rows(remote.metadata, wanted, selection, leaves):
            yield rows
            return
    for groups in remote.waves(wanted):
        file = _sparse_file(remote, await remote.fetch(groups, columns))
        yield _Segment(file, selection, session.memory.batch_bytes, groups)


class _Segment:
    """A file, or some row groups of it. `read` blocks, and returns None after the last rows."""

    def __init__(
        self,
        open_file: OpenParquet,
        selection: Selection,
        most_bytes: int,
        groups: list[int] | None = None,
        check: FileCheck | None = None,
    ) -> None:
        self._check = check
        self._open_file = open_file
        self._selection = selection
        self._most_bytes = most_bytes
        self._groups = groups
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
                batch = _flatten(batch)
            ends = Ends.of([batch], self._selection)
            wanted = self._selection.filter_keys(batch)
            return SegmentRows(ParquetPage(wanted, batch.num_rows, ends), step_range["max"])

    def _open(self) -> Iterator[pa.RecordBatch]:
        parquet = self._open_file()
        schema = parquet.schema_arrow
        names = schema.names
        if len(set(names)) < len(names):
            raise ValueError("two of its columns have the same name")
        self._is_flat = not any(pa.types.is_nested(field.type) for field in schema)
        columns = _columns(self._selection, names if self._is_flat else list(_leaves(schema)))
        groups = self._groups or list(_row_groups(parquet.metadata, self._selection))
        self.last_step = _last_step(parquet.metadata)
        if self._check:
            self._check.check(parquet, self.last_step)
        if not groups:
            return iter(())  # older versions of pyarrow would read row group -1
        self._rows_left = sum(parquet.metadata.row_group(group).num_rows for group in groups)
        return bounded_batches(parquet, self._open_file, groups, columns, self._most_bytes)


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, LookupError, TypeError, ValueError, OverflowError) as error:
        raise ServerError(
            f"History: W&B returned a Parquet file that cannot be read: {error}", error
        ) from error


def _open_spool(
    file: SpooledTemporaryFile[bytes], *, read_dictionary: list[str] | None = None
) -> pq.ParquetFile:
    content: Any = file.wrapped
    buffer_size = 0
    if isinstance(content, BytesIO):
        content = pa.BufferReader(content.getvalue())
    else:
        content.seek(0)
        # A row group may be as large as the file: read its columns in chunks.
        buffer_size = _READ_BUFFER
    return pq.ParquetFile(
        content, read_dictionary=read_dictionary, buffer_size=buffer_size, pre_buffer=False
    )


def _unwanted_rows(
    metadata: pq.FileMetaData, groups: Iterable[int], selection: Selection, names: list[str]
) -> SegmentRows | None:
    """A page for rows none of which has the selected keys, made without reading them."""
    if selection.columns(names) is not None:
        return None
    place = _place_of_steps(metadata)
    last, count = -1, 0
    for group in groups:
        known: Any = metadata.row_group(group).column(place).statistics
        if known is None or not known.has_min_max:
            return None
        last, count = max(last, int(known.max)), count + metadata.row_group(group).num_rows
    return SegmentRows(ParquetPage(None, count), last)


def _row_groups(metadata: pq.FileMetaData, selection: Selection) -> Iterable[int]:
    """The row groups that may have a selected step."""
    place = _place_of_steps(metadata)
    for group in range(metadata.num_row_groups):
        known: Any = metadata.row_group(group).column(place).statistics
        if known is not None and known.has_min_max and isinstance(known.min, int | float):
            if known.max < selection.min_step:
                continue
            if selection.max_step is not None and known.min >= selection.max_step:
                continue
        yield group


def _place_of_steps(metadata: pq.FileMetaData) -> int:
    schema = metadata.schema
    for place in range(metadata.num_columns):
        if schema.column(place).path == STEP:
            return place
    raise ValueError(_NO_STEPS)


def _last_step(metadata: pq.FileMetaData) -> int:
    """The last step of the file by its statistics, or -1 if it has none."""
    index = _place_of_steps(metadata)
    groups = (metadata.row_group(group) for group in range(metadata.num_row_groups))
    steps = [group.column(index).statistics for group in groups]
    known = (step.max for step in steps if step is not None and step.has_min_max)
    return max((int(step) for step in known if isinstance(step, int | float)), default=-1)


def _columns(selection: Selection, names: list[str]) -> list[str]:
    """The columns to read: those that are selected, and those that marks of rows need."""
    wanted = selection.columns_to_read(names) or ()
    return list(dict.fromkeys((*wanted, *(name for name in (STEP, TIME) if name in names))))


def _leaves(fields: Iterable[pa.Field[Any]], prefix: str = "") -> Iterator[str]:
    for field in fields:
        if _is_plain_object(field.type):
            yield from _leaves(field.type, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name


def _steps_as_int64(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with steps as 64-bit integers, or an Arrow error if they are not integers."""
    index = batch.schema.get_field_index(STEP)
    steps = batch.column(index)
    if steps.type == pa.int64():
        return batch
    return batch.set_column(index, STEP, steps.cast(pa.int64()))


def _flatten(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with structs as dotted columns, so that nested keys look as in JSON rows."""
    batch = _media_as_text(batch)
    while any(pa.types.is_struct(field.type) for field in batch.schema):
        literal = {field.name for field in batch.schema if not pa.types.is_struct(field.type)}
        flat = pa.Table.from_batches([batch]).flatten()  # without a batch if there are no rows
        columns = [column.combine_chunks() for column in flat.columns]
        batch = pa.RecordBatch.from_arrays(columns, schema=flat.schema)
        names = list(batch.schema.names)
        batch = batch.rename_columns(
            [
                name.replace(".", r"\.") if name in literal and names.count(name) > 1 else name
                for name in names
            ]
        )
        batch = _media_as_text(batch)
    return batch


def _media_as_text(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with media and lists of other things than numbers as JSON text, as in JSON rows."""
    for index, field in enumerate(batch.schema):
        if not pa.types.is_nested(field.type) or _is_plain_object(field.type):
            continue
        if kind_of(field) is Kind.JSON:
            values = batch.column(index).to_pylist()
            texts = [None if value is None else _text_of(value) for value in values]
            column = pa.array(texts, pa.string())
            batch = batch.set_column(index, Kind.JSON.field(field.name), column)
    return batch


def _text_of(value: Any) -> str:
    # NaN stays NaN here: rows are made of this text, and have the values that were logged.
    try:
        return json.dumps(value, separators=(",", ":"))
    except (TypeError, RecursionError):
        return json_text(value)


def _is_plain_object(kind: pa.DataType) -> bool:
    return bool(pa.types.is_struct(kind) and kind.get_field_index("_type") < 0)
