"""Append-only files on a disk: each addition is written completely or not at all.

On a disk that is nearly full, a write may be partial, which only its return value shows. What was
written of it is truncated, so that the next write does not follow it.

Earlier versions did not notice partial writes, so in their logs the next line may follow such a
part directly: `{"record":"committed","da{"record":"dropped","dataset":"history"}`.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import msgspec
import pyarrow as pa

from aiowandb.atomic import sync_folder
from aiowandb.errors import ExportError
from aiowandb.export.folders.base import plain_errors, require_size_of_state, state_decoder
from aiowandb.symlinks import NO_FOLLOW, require_one_name
from aiowandb.trees import make_folders

_BEGINNING = re.compile(rb'\{"record":')
# A record may have the same text in it, as in `"kinds":{"record":...}` of a column of this name.
_MOST_BEGINNINGS = 4
_logger = logging.getLogger(__name__)


def complete_lines(text: bytes, place: Path | str) -> bytes:
    """The complete lines of a log, also those that follow a partial line directly."""
    text = text[: text.rfind(b"\n") + 1]  # text after the last line break is incomplete
    # Without a list of them: anybody may have put millions of lines there.
    torn = sum(not _is_complete(line) for line in BytesIO(text))
    if not torn:
        return text
    _logger.warning(
        "%s has %d line(s) that were cut off by a full disk or a power cut: they are skipped.",
        place,
        torn,
    )
    return b"".join(part for line in BytesIO(text) for part in _parts(line))


def _parts(line: bytes) -> Iterator[bytes]:
    """The line, or the complete records in one that is not valid itself."""
    if _is_complete(line):
        yield line
        return
    bounds = [match.start() for match in _BEGINNING.finditer(line)] + [len(line)]
    first = 0
    while first < len(bounds) - 1:
        for last in range(min(first + _MOST_BEGINNINGS, len(bounds) - 1), first, -1):
            part = line[bounds[first] : bounds[last]]
            if _is_complete(part):
                yield part.rstrip(b"\n") + b"\n"
                first = last
                break
        else:
            first += 1


def _is_complete(line: bytes) -> bool:
    try:
        _check_json(line)
    except msgspec.MsgspecError:
        return False
    return True


# The values of a line are not looked at, but must be read to know where they end.
_check_json = state_decoder(msgspec.json.Decoder(msgspec.Raw).decode)
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0) | NO_FOLLOW


class AppendOnlyFile:
    """A file opened for appending, unbuffered. Its folder is created."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._is_torn = False
        with plain_errors(path):
            make_folders(path.parent)
            self._descriptor = os.open(path, _FLAGS, 0o644)
            found = os.fstat(self._descriptor)
            self.size = found.st_size
            try:
                require_one_name(path, found)
            except ExportError:
                os.close(self._descriptor)
                raise

    def append(self, data: bytes | bytearray | memoryview, *, sync: bool) -> None:
        """Append all of the data, and `sync` it to disk; after an error the file is unchanged."""
        with plain_errors(self.path):
            self._repair()
            try:
                self._write(data)
                if sync:
                    os.fsync(self._descriptor)
            except BaseException:
                self._is_torn = True
                self._repair_if_possible()
                raise
        self.size += len(data)

    def truncate(self, size: int) -> None:
        """Keep the first `size` bytes."""
        with plain_errors(self.path):
            self._is_torn |= size < self.size
            self.size = min(size, self.size)
            self._repair()

    def read(self) -> bytes:
        """The complete content."""
        require_size_of_state(self.path, self.size)
        with plain_errors(self.path):
            return self.path.read_bytes()

    def close(self) -> None:
        if self._descriptor >= 0:
            self._repair_if_possible()
            descriptor, self._descriptor = self._descriptor, -1
            with plain_errors(self.path):
                os.close(descriptor)  # network file systems say now that the disk is full

    def _write(self, data: bytes | bytearray | memoryview) -> None:
        left = memoryview(data)
        while left:
            left = left[os.write(self._descriptor, left) :]

    def _repair(self) -> None:
        if self._is_torn:
            os.ftruncate(self._descriptor, self.size)
            self._is_torn = False

    def _repair_if_possible(self) -> None:
        with suppress(OSError):  # retried before the next write, which fails if this does
            self._repair()


class LocalLog:
    """See `Log`."""

    def __init__(
        self, path: Path, *, fresh: bool = False, check: Callable[[], None] = lambda: None
    ) -> None:
        self._path = path
        self._check = check
        self.text = b""
        if fresh:
            self._check()
            with plain_errors(path):
                path.unlink(missing_ok=True)  # not written to: it may be a hard link
        self._file = AppendOnlyFile(path)
        try:
            self._read()
        except BaseException:
            self._file.close()
            raise

    def _read(self) -> None:
        text = self._file.read()
        # A line that was being written during a power cut.
        self._file.truncate(text.rfind(b"\n") + 1)
        self.text = complete_lines(text, self._path)

    def append(self, line: bytes, *, durable: bool = True) -> None:
        self._check()
        self._file.append(line + b"\n", sync=durable)

    def replace(self, text: bytes) -> None:
        self._check()
        new = self._path.with_name(f"{self._path.name}.new")
        with plain_errors(self._path):
            new.unlink(missing_ok=True)  # left by an export that was killed
            replacement = AppendOnlyFile(new)
            try:
                replacement.append(text, sync=True)
            except ExportError:
                replacement.close()
                new.unlink()
                raise
            replacement.close()
            # Windows does not replace open files.
            self._file.close()
            try:
                new.replace(self._path)
            finally:
                self._file = AppendOnlyFile(self._path)
            sync_folder(self._path.parent)

    def close(self) -> None:
        self._file.close()


class LocalGrowingFile:
    """See `GrowingFile`."""

    is_in_place = True

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = AppendOnlyFile(path)

    @property
    def size(self) -> int:
        return self._file.size

    def write(self, data: bytes | bytearray | memoryview | pa.Buffer) -> None:
        self._file.append(memoryview(data).cast("B"), sync=False)

    def truncate(self, size: int) -> None:
        self._file.truncate(size)

    def publish(self) -> None:
        """The file is in its place already."""

    def close(self) -> None:
        self._file.close()
