"""The Parquet files of compacted history: two for each segment, written atomically.

`columns` has the values (see `columns.py`), `lines` the text that was sent; both are in step order.
A file is written under a temporary name, synced and renamed, and belongs to a segment once its
token is in the database: files left behind by a crash are removed at a later start. The token has a
hash of each file, so that no rows are read from one that a disk has damaged. Files of older
versions have none, and others may have prepared the folder: pyarrow ends the process when it is
asked for the metadata of a malformed column, so that they are never asked for.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from bisect import bisect_left
from collections import OrderedDict
from contextlib import ExitStack, closing
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

from aiowandb_server.errors import RequestError
from aiowandb_server.store import json_text, line_tables
from aiowandb_server.store.arrays import rows_at
from aiowandb_server.store.columns import ColumnBuilder, ColumnChunk, is_json
from aiowandb_server.store.decoding import decoded
from aiowandb_server.store.disk import complete_file, make_private_folder, sync_folder
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
# Columns of pieces that wait to be joined, and are there while they are.
_BYTES_JOINED = 12 << 20
# In the answer, with the name of its key, besides the value itself.
_SIZE_OF_VALUE = 100
_Kind = Literal["lines", "columns"]
_TOKEN = re.compile(r"[0-9a-f]{16}-(?P<lines>[0-9a-f]{32})-(?P<columns>[0-9a-f]{32})")


class _LineFile(NamedTuple):
    """What is known of a file of lines: its metadata, and each row group's first and last step."""

    metadata: pq.FileMetaData
    steps: list[tuple[int, int]]


class SegmentFiles:
    """The folder of segments, which is independent of runs: a token stands for two files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        make_private_folder(folder)
        self._open: OrderedDict[str, _LineFile] = OrderedDict()
        self._lock = Lock()

    def columns_path(self, token: str) -> Path:
        """The file with the values. Raises RequestError if it is not as it was written."""
        return self._checked(token, "columns")

    def write(self, tables: Iterable[pa.Table], counter: KeyCounter) -> str:
        """Write both files of a segment from lines in step order, and return its token; `counter`
        counts the rows."""
        made = secrets.token_hex(8)
        lines, columns = self._path(made, "lines"), self._path(made, "columns")
        with closing(ColumnBuilder()) as builder:
            with (
                complete_file(lines) as path,
                pq.ParquetWriter(
                    path, line_tables.SCHEMA, compression="zstd", use_dictionary=False
                ) as writer,
            ):
                for chunk in chunked(tables):
                    writer.write_table(chunk, _ROWS_A_LINE_GROUP)
                    _add_rows(builder, chunk, counter)
            self._write_columns(columns, builder)
        token = f"{made}-{_hash(lines)}-{_hash(columns)}"
        lines.rename(self._path(token, "lines"))
        columns.rename(self._path(token, "columns"))
        sync_folder(self._folder)
        return token

    def write_prefix(self, lines: Sequence[Line]) -> str:
        """Write only a `columns` file, of rows that are stored elsewhere, and return its token.

        The token is a hash of the content, so that files of different rows have different tokens.
        """
        digest = hashlib.sha256()
        for line in lines:
            digest.update(f"{line.step} {len(line.text)} {line.text}\n".encode())
        token = f"early-{digest.hexdigest()[:32]}"
        path = self._path(token, "columns")
        if not path.exists():
            with closing(ColumnBuilder()) as builder:
                for chunk in chunked(tables_of(lines)):
                    _add_rows(builder, chunk)
                self._write_columns(path, builder)
        return token

    def read(self, token: str, low: int, high: int) -> Iterator[Line]:
        """The lines with `low <= step < high`, in order."""
        metadata, steps = self._line_file(token)
        with pq.ParquetFile(self._path(token, "lines"), metadata=metadata) as file:
            for group in _groups_between(steps, low, high):
                first, last = steps[group]
                with held(_size_of(metadata, group)):
                    table = file.read_row_group(group, use_threads=False)
                    if first < low or last >= high:
                        table = table.filter(_between(low, high))
                    yield from map(Line, *(column.to_pylist() for column in table.columns))

    def places(self, token: str, low: int, high: int) -> list[tuple[int, int]]:
        """Step and number of the lines `low <= step < high`, in order, without their text."""
        metadata, steps = self._line_file(token)
        found: list[tuple[int, int]] = []
        with pq.ParquetFile(self._path(token, "lines"), metadata=metadata) as file:
            # A page is one row group or two: to read all of them for each page of a long run
            # takes a time that grows with the square of its length.
            for group in _groups_between(steps, low, high):
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
        metadata, steps = self._line_file(token)
        picked = [step for step, _ in places]
        with pq.ParquetFile(self._path(token, "lines"), metadata=metadata) as file:
            for group, (first, last) in enumerate(steps):
                if not any(first <= step <= last for step in picked):
                    continue
                with held(_size_of(metadata, group)):
                    table = file.read_row_group(group, use_threads=False)
                    table = table.filter(pc.field("step").isin(picked))
                    for line in map(Line, *(column.to_pylist() for column in table.columns)):
                        if (line.step, line.number) in wanted:
                            yield line

    def sampled(
        self, token: str, keys: Sequence[str], low: int, high: int, samples: int
    ) -> list[dict[str, Any]] | None:
        """A sample of the rows that have all keys; None if a key is not a column."""
        step = pc.field("_step")
        wanted = (step >= low) & (step < high)
        for key in keys:
            wanted &= pc.field(key).is_valid()
        found = []
        for table in self.columns(token, dict.fromkeys((*keys, "_step"))):
            if not set(keys) <= set(table.schema.names):
                return None
            found.append(table.filter(wanted))
            charge(found[-1].nbytes)
        positions = sample_positions(sum(table.num_rows for table in found), samples)
        picked = rows_at(found, positions).select(list(keys))
        charge(len(positions) * len(keys) * _SIZE_OF_VALUE + 3 * picked.nbytes)
        rows: list[dict[str, Any]] = picked.to_pylist()
        for name in (key for key in keys if is_json(picked.schema.field(key))):
            for row in rows:
                row[name] = json_text.loads(row[name])
        return rows

    def columns(self, token: str, keys: Iterable[str]) -> Iterator[pa.Table]:
        """The values of those of the keys that are columns, one row group after another.

        Each counts as memory of the request until the next one is taken.
        """
        path = self.columns_path(token)
        with held(_size_of_footer(path)), pq.ParquetFile(path) as file:
            present = set(file.schema_arrow.names)
            names = [key for key in keys if key in present]
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                with held(_SIZE_OF_CELL * rows * len(names)):
                    table = file.read_row_group(group, names, use_threads=False)
                    # Texts that repeat take much more than in the file.
                    with held(table.nbytes):
                        yield table

    def remove(self, token: str) -> None:
        with self._lock:
            self._open.pop(token, None)
        self._path(token, "columns").unlink(missing_ok=True)
        self._path(token, "lines").unlink(missing_ok=True)

    def _path(self, token: str, kind: _Kind) -> Path:
        return path_in(self._folder, f"{token}.{kind}.parquet")

    def _checked(self, token: str, kind: _Kind) -> Path:
        path = self._path(token, kind)
        if known := _TOKEN.fullmatch(token):
            _require_hash(path, known[kind])
        return path

    def _line_file(self, token: str) -> _LineFile:
        with self._lock:
            if token in self._open:
                self._open.move_to_end(token)
                return self._open[token]
        with pq.ParquetFile(self._checked(token, "lines")) as file:
            groups = range(file.num_row_groups)
            steps = (file.read_row_group(i, ["step"], use_threads=False)["step"] for i in groups)
            found = _LineFile(file.metadata, [(s[0].as_py(), s[-1].as_py()) for s in steps])
        with self._lock:
            self._open[token] = found
            while len(self._open) > _OPEN_FILES:
                self._open.popitem(last=False)
        return found

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


@lru_cache(4_096)
def _require_hash(path: Path, known: str) -> None:
    # Cached: the file of a segment never changes. One that is restored is looked at again.
    if _hash(path) != known:
        raise RequestError(
            f"segments/{path.name} in the data folder has changed since it was written, so that no"
            " rows are read from it. Restore it from a copy, or delete the run and send it again.",
            500,
        )


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, xxhash.xxh128).hexdigest()


def _size_of_footer(path: Path) -> int:
    """What the description of the columns in a Parquet file takes once it is read."""
    with path.open("rb") as file:
        file.seek(-8, os.SEEK_END)
        return _COPIES_OF_FOOTER * int.from_bytes(file.read(4), "little")


def _groups_between(steps: list[tuple[int, int]], low: int, high: int) -> Iterator[int]:
    """The row groups that may have lines with `low <= step < high`; groups are in step order."""
    for group in range(bisect_left(steps, low, key=itemgetter(1)), len(steps)):
        if steps[group][0] >= high:
            return
        yield group


def _size_of(metadata: pq.FileMetaData, group: int) -> int:
    """The memory of a row group, as Arrow's data and as Python's."""
    return 2 * metadata.row_group(group).total_byte_size


def _between(low: int, high: int) -> pc.Expression:
    step = pc.field("step")
    return (step >= low) & (step < high)


def _add_rows(builder: ColumnBuilder, chunk: pa.Table, counter: KeyCounter | None = None) -> None:
    """Add the lines as columns, and count them."""
    waiting: list[pa.Table] = []
    converted: list[ColumnChunk | None] = []
    cells = size = 0
    with ExitStack() as counted:
        for piece in pieces(chunk):
            for columns, more in _columns_of(piece, counter, convert=None not in converted):
                converted.append(columns)
                cells += more
                if columns is not None:
                    size += columns.nbytes
                    counted.enter_context(held(columns.nbytes))
            waiting.append(piece)
            if cells > MAX_CELLS or size > _BYTES_JOINED:
                _add_converted(builder, waiting, converted)
                waiting, converted, cells, size = [], [], 0, 0
                counted.close()
        if waiting:
            _add_converted(builder, waiting, converted)


def _columns_of(
    piece: pa.Table, counter: KeyCounter | None, *, convert: bool
) -> Iterator[tuple[ColumnChunk | None, int]]:
    """The lines as columns, if these can be converted in pieces, and the number of their cells."""
    steps: list[Any] = piece.column("step").to_pylist()
    texts: list[Any] = piece.column("text").to_pylist()
    for columns, types, rows in decoded(texts):
        if counter is not None:
            counter.add(steps[:rows], columns, types)
        converted = ColumnChunk.of(steps[:rows], columns, types) if convert else None
        yield converted, rows * len(columns)
        steps = steps[rows:]


def _add_converted(
    builder: ColumnBuilder, tables: list[pa.Table], converted: list[ColumnChunk | None]
) -> None:
    """Add lines that were converted in pieces, or, where that is not possible, at once."""
    plain = [piece for piece in converted if piece is not None]
    with held(sum(piece.nbytes for piece in plain)):
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
