"""The Parquet files of compacted history: two for each segment, written atomically.

`columns` has the values (see `columns.py`), `lines` the text that was sent; both are in step order.
A file is written under a temporary name, synced and renamed, and belongs to a segment once its
token is in the database: files left behind by a crash are removed at a later start.
"""

from __future__ import annotations

import hashlib
import os
from bisect import bisect_left
from collections import OrderedDict
from contextlib import ExitStack, closing
from itertools import chain
from threading import Lock
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from aiowandb_server.store import json_text, line_tables
from aiowandb_server.store.arrays import ints
from aiowandb_server.store.columns import ColumnBuilder, ColumnChunk, is_json
from aiowandb_server.store.decoding import decoded
from aiowandb_server.store.disk import complete_file, make_private_folder
from aiowandb_server.store.line_tables import (
    ROWS_A_CHUNK,
    chunked,
    lines_of,
    pieces,
    tables_of,
)
from aiowandb_server.store.metering import SIZE_OF_PLACE, charge, held, weight_of
from aiowandb_server.store.own_files import path_in
from aiowandb_server.store.records import Line
from aiowandb_server.store.rows import (
    MAX_CELLS,
    columns_of,
    decode_row,
    narrow_parts,
    sample_positions,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from aiowandb_server.store.history_keys import KeyCounter

# Values that cannot be converted in pieces are decoded at once. A request with a large share of the
# memory has room for it.
_TEXT_DECODED = 32 << 20
_WEIGHT_DECODED = 144 << 20
_COUNTED_AT_ONCE = 1 << 20
# A page of history has 1,000 steps: small groups allow it to be read without its neighbours.
_ROWS_A_LINE_GROUP = 4_096
_OPEN_FILES = 64
# The names of columns are in the schema, in each row group and in Arrow's copy of the schema, once
# as objects and once as bytes: names of 40,000 characters end a process that does not count them.
_COPIES_OF_NAMES = 40
_COPIES_OF_FOOTER = 5
# As Arrow's data, with whether there is a value.
_SIZE_OF_CELL = 9
# In the answer, with the name of its key, besides the value itself.
_SIZE_OF_VALUE = 100


class SegmentFiles:
    """The folder of segments, which is independent of runs: a token stands for two files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        make_private_folder(folder)
        self._open: OrderedDict[str, pq.FileMetaData] = OrderedDict()
        self._lock = Lock()

    def columns_path(self, token: str) -> Path:
        return path_in(self._folder, f"{token}.columns.parquet")

    def lines_path(self, token: str) -> Path:
        return path_in(self._folder, f"{token}.lines.parquet")

    def write(self, token: str, tables: Iterable[pa.Table], counter: KeyCounter) -> None:
        """Write both files of a segment from lines in step order; `counter` counts the rows."""
        with closing(ColumnBuilder()) as builder:
            with (
                complete_file(self.lines_path(token)) as path,
                pq.ParquetWriter(
                    path, line_tables.SCHEMA, compression="zstd", use_dictionary=False
                ) as writer,
            ):
                for chunk in chunked(tables):
                    writer.write_table(chunk, _ROWS_A_LINE_GROUP)
                    _add_rows(builder, chunk, counter)
            self._write_columns(self.columns_path(token), builder)

    def write_prefix(self, lines: Sequence[Line]) -> str:
        """Write only a `columns` file, of rows that are stored elsewhere, and return its token.

        The token is a hash of the content, so that files of different rows have different tokens.
        """
        digest = hashlib.sha256()
        for line in lines:
            digest.update(f"{line.step} {len(line.text)} {line.text}\n".encode())
        token = f"early-{digest.hexdigest()[:32]}"
        if not self.columns_path(token).exists():
            with closing(ColumnBuilder()) as builder:
                for chunk in chunked(tables_of(lines)):
                    _add_rows(builder, chunk)
                self._write_columns(self.columns_path(token), builder)
        return token

    def read(self, token: str, low: int, high: int) -> Iterator[Line]:
        """The lines with `low <= step < high`, in order."""
        metadata = self._metadata(token)
        with pq.ParquetFile(self.lines_path(token), metadata=metadata) as file:
            for group in _groups_between(metadata, low, high):
                first, last = _steps_of(metadata, group)
                with held(_size_of(metadata, group)):
                    table = file.read_row_group(group, use_threads=False)
                    if first < low or last >= high:
                        table = table.filter(_between(low, high))
                    yield from map(Line, *(column.to_pylist() for column in table.columns))

    def places(self, token: str, low: int, high: int) -> list[tuple[int, int]]:
        """Step and number of the lines `low <= step < high`, in order, without their text."""
        metadata = self._metadata(token)
        found: list[tuple[int, int]] = []
        with pq.ParquetFile(self.lines_path(token), metadata=metadata) as file:
            # A page is one row group or two: to read all of them for each page of a long run
            # takes a time that grows with the square of its length.
            for group in _groups_between(metadata, low, high):
                charge(metadata.row_group(group).num_rows * SIZE_OF_PLACE)
                table = file.read_row_group(group, ["step", "number"], use_threads=False)
                table = table.filter(_between(low, high))
                found += zip(*(column.to_pylist() for column in table.columns), strict=True)
        return found

    def pick(self, token: str, places: list[tuple[int, int]]) -> Iterator[Line]:
        """The lines with these steps and numbers, as returned by `places`, ascending."""
        if not places:
            return
        wanted = set(places)
        metadata = self._metadata(token)
        steps = [step for step, _ in places]
        with pq.ParquetFile(self.lines_path(token), metadata=metadata) as file:
            for group in range(metadata.num_row_groups):
                first, last = _steps_of(metadata, group)
                if not any(first <= step <= last for step in steps):
                    continue
                with held(_size_of(metadata, group)):
                    table = file.read_row_group(group, use_threads=False)
                    table = table.filter(pc.field("step").isin(steps))
                    for line in map(Line, *(column.to_pylist() for column in table.columns)):
                        if (line.step, line.number) in wanted:
                            yield line

    def sampled(
        self, token: str, keys: Sequence[str], low: int, high: int, samples: int
    ) -> list[dict[str, Any]] | None:
        """A sample of the rows that have all keys; None if a key is not a column."""
        with held(_size_of_footer(self.columns_path(token))):
            schema = pq.read_schema(self.columns_path(token))
        if not set(keys) <= set(schema.names):
            return None
        step = pc.field("_step")
        wanted = (step >= low) & (step < high)
        for key in keys:
            wanted &= pc.field(key).is_valid()
        columns = [*keys] if "_step" in keys else [*keys, "_step"]
        with pq.ParquetFile(self.columns_path(token)) as file:
            groups = range(file.metadata.num_row_groups)
            charge(sum(size_of_columns(file.metadata, group, columns) for group in groups))
            table = file.read(columns, use_threads=False).filter(wanted)
        positions = ints(sample_positions(table.num_rows, samples))
        picked = table.take(positions).select(list(keys))
        charge(len(positions) * len(keys) * _SIZE_OF_VALUE + 3 * picked.nbytes)
        rows: list[dict[str, Any]] = picked.to_pylist()
        for name in (key for key in keys if is_json(schema.field(key))):
            for row in rows:
                row[name] = json_text.loads(row[name])
        return rows

    def remove(self, token: str) -> None:
        with self._lock:
            self._open.pop(token, None)
        self.columns_path(token).unlink(missing_ok=True)
        self.lines_path(token).unlink(missing_ok=True)

    def _metadata(self, token: str) -> pq.FileMetaData:
        with self._lock:
            if token in self._open:
                self._open.move_to_end(token)
                return self._open[token]
        metadata = pq.read_metadata(self.lines_path(token))
        with self._lock:
            self._open[token] = metadata
            while len(self._open) > _OPEN_FILES:
                self._open.popitem(last=False)
        return metadata

    def _write_columns(self, path: Path, builder: ColumnBuilder) -> None:
        schema = builder.schema()
        # Measured numbers are rarely the same: a dictionary of them is a third slower, and larger.
        repeated = [field.name for field in schema if not pa.types.is_floating(field.type)]
        with (
            held(_COPIES_OF_NAMES * sum(len(name) for name in schema.names)),
            complete_file(path) as temporary,
            pq.ParquetWriter(
                temporary,
                schema,
                compression="zstd",
                use_dictionary=repeated,  # type: ignore[arg-type]
            ) as writer,
        ):
            for table in builder.tables():
                writer.write_table(table, ROWS_A_CHUNK)


def _size_of_footer(path: Path) -> int:
    """What the description of the columns in a Parquet file takes once it is read."""
    with path.open("rb") as file:
        file.seek(-8, os.SEEK_END)
        return _COPIES_OF_FOOTER * int.from_bytes(file.read(4), "little")


def _groups_between(metadata: pq.FileMetaData, low: int, high: int) -> Iterator[int]:
    """The row groups that may have lines with `low <= step < high`; groups are in step order."""
    for group in range(bisect_left(_LastSteps(metadata), low), metadata.num_row_groups):
        if _steps_of(metadata, group)[0] >= high:
            return
        yield group


class _LastSteps:
    """The last step of each row group, looked up when it is needed."""

    def __init__(self, metadata: pq.FileMetaData) -> None:
        self._metadata = metadata

    def __len__(self) -> int:
        return self._metadata.num_row_groups

    def __getitem__(self, group: int) -> int:
        return _steps_of(self._metadata, group)[1]


def _steps_of(metadata: pq.FileMetaData, group: int) -> tuple[int, int]:
    """The first and the last step of a row group: both files are written with statistics."""
    statistics: Any = metadata.row_group(group).column(0).statistics
    return statistics.min, statistics.max


def _size_of(metadata: pq.FileMetaData, group: int) -> int:
    """The memory of a row group, as Arrow's data and as Python's."""
    return 2 * metadata.row_group(group).total_byte_size


def size_of_columns(metadata: pq.FileMetaData, group: int, names: Sequence[str]) -> int:
    """The memory of some columns of a row group as Arrow's data."""
    facts, wanted = metadata.row_group(group), set(names)
    columns = map(facts.column, range(facts.num_columns))
    # Values that are all the same take nothing in the file.
    return 8 * facts.num_rows * len(wanted) + sum(
        column.total_uncompressed_size for column in columns if column.path_in_schema in wanted
    )


def _between(low: int, high: int) -> pc.Expression:
    step = pc.field("step")
    return (step >= low) & (step < high)


def _add_rows(builder: ColumnBuilder, chunk: pa.Table, counter: KeyCounter | None = None) -> None:
    """Add the lines as columns, and count them."""
    waiting: list[pa.Table] = []
    converted: list[ColumnChunk | None] = []
    cells = 0
    with ExitStack() as counted:
        for piece in pieces(chunk):
            steps: list[Any] = piece.column("step").to_pylist()
            texts: list[Any] = piece.column("text").to_pylist()
            for columns, types, rows in decoded(texts):
                if counter is not None:
                    counter.add(steps[:rows], columns, types)
                plain = None not in converted
                converted.append(ColumnChunk.of(steps[:rows], columns, types) if plain else None)
                steps = steps[rows:]
                cells += rows * len(columns)
                counted.enter_context(held(_SIZE_OF_CELL * rows * len(columns)))
            waiting.append(piece)
            if cells > MAX_CELLS:
                _add_converted(builder, waiting, converted)
                waiting, converted, cells = [], [], 0
                counted.close()
        if waiting:
            _add_converted(builder, waiting, converted)


def _add_converted(
    builder: ColumnBuilder, tables: list[pa.Table], converted: list[ColumnChunk | None]
) -> None:
    """Add lines that were converted in pieces, or, where that is not possible, at once."""
    plain = [piece for piece in converted if piece is not None]
    if len(plain) == len(converted) and builder.add_pieces(plain):
        return
    for lines in chunks(chain.from_iterable(map(lines_of, tables))):
        start = 0
        for part in narrow_parts([decode_row(line.text) for line in lines]):
            steps = [line.step for line in lines[start : start + len(part)]]
            builder.add(steps, columns_of(part))
            start += len(part)


def chunks(lines: Iterable[Line]) -> Iterator[list[Line]]:
    """The lines in chunks that are bounded in rows, and in the memory of what they are decoded to.

    A chunk counts as memory of the request while it is collected, and until the next one is taken.
    """
    chunk: list[Line] = []
    length = weight = counted = 0
    with ExitStack() as memory:
        for line in lines:
            chunk.append(line)
            length += len(line.text)
            weight += weight_of(line.text)
            is_full = (
                len(chunk) == ROWS_A_CHUNK or length >= _TEXT_DECODED or weight >= _WEIGHT_DECODED
            )
            if is_full or weight - counted > _COUNTED_AT_ONCE:
                memory.enter_context(held(weight - counted))
                counted = weight
            if is_full:
                yield chunk
                memory.close()
                chunk, length, weight, counted = [], 0, 0, 0
        if chunk:
            memory.enter_context(held(weight - counted))
            yield chunk
