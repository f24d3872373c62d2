"""A file that stays in memory while it is small."""

from __future__ import annotations

from io import BytesIO
from tempfile import TemporaryFile
from types import TracebackType
from typing import IO, Self


class Spool:
    """Takes a download, in memory up to `most` bytes and on disk beyond that.

    Writing to memory waits for nobody, so that it can be done at once, without a thread.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._file: IO[bytes] = BytesIO()

    def has_room(self, size: int) -> bool:
        """Whether so many bytes more stay in memory."""
        return isinstance(self._file, BytesIO) and self._file.tell() + size <= self._most

    def write(self, piece: bytes | bytearray) -> int:
        if isinstance(self._file, BytesIO) and not self.has_room(len(piece)):
            memory, self._file = self._file, TemporaryFile()  # noqa: SIM115
            self._file.write(memory.getbuffer())
        return self._file.write(piece)

    def clear(self) -> None:
        self._file.seek(0)
        self._file.truncate()

    def content(self) -> memoryview | IO[bytes]:
        """All that was written: the bytes where they lie, or the file on disk."""
        if isinstance(self._file, BytesIO):
            return self._file.getbuffer()
        self._file.seek(0)
        return self._file

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not isinstance(self._file, BytesIO):  # whose memory may still be looked at
            self._file.close()
