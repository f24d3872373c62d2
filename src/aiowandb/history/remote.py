"""A large Parquet file, read over HTTP ranges: its footer, then only the parts that are needed."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import partial

import pyarrow as pa
from anyio.to_thread import run_sync

from aiowandb.concurrency.tasks import gather
from aiowandb.errors import LinkError
from aiowandb.history.bounded import belongs_to
from aiowandb.history.footer import Footer, footer_size, require_room
from aiowandb.net import Piece, Session
from aiowandb.redaction import Link

_TAIL = 1 << 17
_HEAD = 1 << 23
# Parts that are closer than this are fetched in one request.
_GAP = 1 << 16
# A row group must fit into memory with room for others; files with larger ones go to disk.
_MAX_GROUP_SIZE = 1 << 25
_MAX_WAVE_SIZE = 1 << 24

Span = tuple[int, int]


class RemoteFile:
    """A Parquet file behind a link."""

    def __init__(
        self, session: Session, link: Link, footer: Footer, tail: Piece, head: Piece
    ) -> None:
        self.footer = footer
        self._session = session
        self._link = link
        self._tail = tail
        self._head = head

    @classmethod
    async def open(cls, session: Session, link: Link, *, from_start: bool) -> RemoteFile | None:
        """The file, or None if it is better downloaded completely.

        With `from_start` the beginning is fetched along with the end, so that the first rows
        need no further request.
        """
        head_size = _HEAD if from_start else 4
        ends = [f"-{_TAIL}", f"0-{head_size - 1}"]
        tail, head = await gather(ends, partial(session.piece, link), len(ends))
        if tail is None or head is None or not head.is_of(tail):
            return None
        tail = await _with_footer(session, link, tail)
        footer = tail and await _parsed(tail)
        if tail is None or footer is None:
            return None
        sizes = [group.size for group in footer.groups]
        if len(sizes) < 2 or max(sizes) > min(_MAX_GROUP_SIZE, session.memory.reader_bytes):
            return None
        return cls(session, link, footer, tail, head)

    def waves(self, groups: Sequence[int]) -> Iterator[list[int]]:
        """The row groups in waves: one group at first, then as many as memory allows."""
        wave: list[int] = []
        size, limit = 0, 0
        for group in groups:
            group_size = self.footer.groups[group].size
            if wave and size + group_size > limit:
                yield wave
                wave, size, limit = [], 0, _MAX_WAVE_SIZE
            wave.append(group)
            size += group_size
        if wave:
            yield wave

    async def fetch(
        self, groups: Iterable[int], columns: Collection[str]
    ) -> io.RawIOBase | pa.BufferReader:
        """A sparse file with just the bytes that these columns of these row groups need."""
        names = frozenset(columns)
        spans = _merged(span for group in groups for span in self._spans(group, names))
        missing = [span for span in spans if span[1] > len(self._head.content)]
        if not missing:
            return pa.BufferReader(self._head.content)  # whose bytes are not copied
        pieces = await gather(missing, self._fetch_span, max(1, len(missing)))
        found = {first: piece for (first, _), piece in zip(missing, pieces, strict=True)}
        return _SparseFile({0: self._head.content} | found, self._tail.total)

    def _spans(self, group: int, columns: Collection[str]) -> Iterator[Span]:
        columns_of_group = self.footer.groups[group].columns
        for path, column in zip(self.footer.paths, columns_of_group, strict=True):
            if belongs_to(path, columns):
                yield column.start, column.end

    async def _fetch_span(self, span: Span) -> bytes | bytearray:
        piece = await self._session.piece(self._link, f"{span[0]}-{span[1] - 1}")
        if piece is None or not piece.is_of(self._tail):
            raise LinkError("The file was replaced while it was being read.")
        return piece.content


async def read_footer(session: Session, link: Link) -> Footer | None:
    """What the end of the file says of it, or None if it must be downloaded to know that."""
    tail = await session.piece(link, f"-{_TAIL}")
    tail = tail and await _with_footer(session, link, tail)
    return tail and await _parsed(tail)


async def _parsed(tail: Piece) -> Footer | None:
    try:
        return await run_sync(Footer, tail.content)
    except (pa.ArrowException, OSError, LookupError, ValueError, OverflowError, TypeError):
        return None  # no Parquet file: the complete download will say what is wrong


async def _with_footer(session: Session, link: Link, tail: Piece) -> Piece | None:
    """The end of the file with all of its footer, which may be larger than expected."""
    require_room(tail.content, tail.total, session.memory)
    size = footer_size(tail.content)
    return tail if size <= len(tail.content) else await session.piece(link, f"-{size}")


class _SparseFile(io.RawIOBase):
    """Pieces of a file at their offsets; what is between them cannot be read."""

    def __init__(self, pieces: dict[int, bytes | bytearray], size: int) -> None:
        self._pieces = pieces
        self._size = size
        self._position = 0

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = start + offset
        return self._position

    def read(self, size: int = -1) -> bytes:
        end = self._size if size < 0 else min(self._position + size, self._size)
        for first, content in self._pieces.items():
            if first <= self._position and end <= first + len(content):
                found = bytes(memoryview(content)[self._position - first : end - first])
                self._position = end
                return found
        raise OSError(f"bytes {self._position} to {end} were not fetched")


def _merged(spans: Iterable[Span]) -> list[Span]:
    merged: list[Span] = []
    for first, end in sorted(spans):
        if merged and first - merged[-1][1] <= _GAP:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((first, end))
    return merged
