"""A large Parquet file read where it lies: its footer, then the parts that are wanted."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq

from aiowandb.concurrency.tasks import gather
from aiowandb.errors import LinkError
from aiowandb.net import Piece, Session

_TAIL = 1 << 17
_HEAD = 1 << 23
# Wanted parts that are closer than this come in one piece.
_GAP = 1 << 16
# A row group must fit into memory with room for others; files with larger ones go to disk.
_MOST_A_GROUP = 1 << 25
_MOST_AT_ONCE = 1 << 24

Span = tuple[int, int]


class RemoteFile:
    """A Parquet file at a URL."""

    def __init__(self, session: Session, url: str, tail: Piece, head: Piece) -> None:
        self.metadata = pq.read_metadata(pa.BufferReader(tail.content))
        self._session = session
        self._url = url
        self._tail = tail
        self._head = head

    @classmethod
    async def open(cls, session: Session, url: str, *, from_start: bool) -> RemoteFile | None:
        """The file, or None if it is better downloaded whole.

        Who is going to read it `from_start` gets the beginning along with the end: the
        first rows need no further request then.
        """
        head_size = _HEAD if from_start else 4
        ends = [f"-{_TAIL}", f"0-{head_size - 1}"]
        tail, head = await gather(ends, partial(session.piece, url), len(ends))
        if tail is None or head is None or not head.is_of(tail):
            return None
        footer = int.from_bytes(tail.content[-8:-4], "little") + 8
        if footer > len(tail.content):
            tail = await session.piece(url, f"-{footer}")
            if tail is None:
                return None
        try:
            file = cls(session, url, tail, head)
        except pa.ArrowException:
            return None  # no such file: reading it whole will say what it is
        groups = range(file.metadata.num_row_groups)
        sizes = [file.metadata.row_group(group).total_byte_size for group in groups]
        return file if len(sizes) > 1 and max(sizes) <= _MOST_A_GROUP else None

    def waves(self, groups: Sequence[int]) -> Iterator[list[int]]:
        """The row groups, some at a time: one at first, then as many as memory allows."""
        wave: list[int] = []
        size, most = 0, 0
        for group in groups:
            own = self.metadata.row_group(group).total_byte_size
            if wave and size + own > most:
                yield wave
                wave, size, most = [], 0, _MOST_AT_ONCE
            wave.append(group)
            size += own
        if wave:
            yield wave

    async def parts(self, groups: Iterable[int], columns: Collection[str]) -> io.RawIOBase:
        """A file that has what these columns of these row groups need, and nothing else."""
        names = frozenset(columns)
        spans = _joined(span for group in groups for span in self._spans(group, names))
        missing = [span for span in spans if span[1] > len(self._head.content)]
        pieces = await gather(missing, self._fetch, max(1, len(missing)))
        found = {first: piece for (first, _), piece in zip(missing, pieces, strict=True)}
        return _Parts({0: self._head.content} | found, self._tail.total)

    def _spans(self, group: int, columns: Collection[str]) -> Iterator[Span]:
        of_group = self.metadata.row_group(group)
        for index in range(of_group.num_columns):
            column = of_group.column(index)
            if _is_of(column.path_in_schema, columns):
                first = column.dictionary_page_offset or column.data_page_offset
                yield first, first + column.total_compressed_size

    async def _fetch(self, span: Span) -> bytes:
        piece = await self._session.piece(self._url, f"{span[0]}-{span[1] - 1}")
        if piece is None or not piece.is_of(self._tail):
            raise LinkError("The file was replaced while it was read.")
        return piece.content


def _is_of(path: str, columns: Collection[str]) -> bool:
    """Whether a leaf lies in one of the columns: those of lists and media lie below their names."""
    while path and path not in columns:
        path = path.rpartition(".")[0]
    return bool(path)


class _Parts(io.RawIOBase):
    """Pieces of a file at their places; what lies between them must not be asked for."""

    def __init__(self, pieces: dict[int, bytes], size: int) -> None:
        self._pieces = pieces
        self._size = size
        self._place = 0

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        self._place = start + offset
        return self._place

    def read(self, size: int = -1) -> bytes:
        end = self._size if size < 0 else min(self._place + size, self._size)
        for first, content in self._pieces.items():
            if first <= self._place and end <= first + len(content):
                found = content[self._place - first : end - first]
                self._place = end
                return found
        raise OSError(f"bytes {self._place} to {end} are not there")


def _joined(spans: Iterable[Span]) -> list[Span]:
    joined: list[Span] = []
    for first, end in sorted(spans):
        if joined and first - joined[-1][1] <= _GAP:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((first, end))
    return joined
