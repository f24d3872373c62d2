"""Local files to upload, and local text files that become console lines."""

from __future__ import annotations

import base64
import stat
from collections.abc import AsyncGenerator, Iterator, Sequence
from pathlib import Path

import anyio

from aiowandb.concurrency.threads import run_sync
from aiowandb.errors import NotFoundError, UsageError
from aiowandb.files.artifact_uploads import NewEntry
from aiowandb.files.fetch import checksum_of
from aiowandb.files.folder import pieces_of
from aiowandb.ingest.source import SourceFile
from aiowandb.trees import walk
from aiowandb.wire.checksum import Algorithm, Checksum
from aiowandb.wire.console import ConsoleLogLine

_LINES_AT_ONCE = 1000
# In characters. A longer line is taken for several: it may have no end.
_PAGE_SIZE = 4 << 20


def require_file_or_folder(path: Path) -> None:
    """Raise a `UsageError` for pipes, devices and sockets, which would be waited for. Blocks."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise UsageError(f"{path} is neither a file nor a folder: copy what it gives into a file.")


def files_below(folder: Path) -> list[Path]:
    """All files in the folder and its subfolders. Blocks."""
    return sorted(folder / name for name, entry in walk(folder) if entry.is_file())


def broken_links_below(folder: Path) -> list[str]:
    """The names of links in the folder and its subfolders whose file does not exist. Blocks."""
    return sorted(
        name
        for name, entry in walk(folder)
        if entry.is_symlink() and not (entry.is_file() or entry.is_dir())
    )


async def local_file(path: Path, name: str) -> SourceFile:
    """A local file, to be uploaded under this name."""
    checksum, size = await _measured(path, "MD5")
    return SourceFile(name, size, checksum.text, lambda: pieces_of(path))


async def local_entry(path: Path, name: str, algorithm: Algorithm | None = None) -> NewEntry:
    """A local file, as a file of an artifact."""
    checksum, size = await _measured(path, algorithm or "MD5")
    digest = base64.b64encode(checksum.digest).decode()
    return NewEntry(name, digest, size, lambda: pieces_of(path))


async def lines_of(path: Path) -> AsyncGenerator[Sequence[ConsoleLogLine]]:
    """The lines of a log, with their times if the lines begin with times."""
    pages = _pages_of_lines(path)
    while (page := await run_sync(next, pages, None)) is not None:
        yield page


def _pages_of_lines(path: Path) -> Iterator[Sequence[ConsoleLogLine]]:
    number, size, lines = 0, 0, list[ConsoleLogLine]()
    with path.open(encoding="utf-8", errors="replace") as file:
        while line := file.readline(_PAGE_SIZE):
            lines.append(ConsoleLogLine.of(number, line.rstrip("\n")))
            number += 1
            size += len(line)
            if len(lines) == _LINES_AT_ONCE or size >= _PAGE_SIZE:
                yield lines
                size, lines = 0, []
    if lines:
        yield lines


async def _measured(path: Path, algorithm: Algorithm) -> tuple[Checksum, int]:
    try:
        checksum = await run_sync(_checksum, path, algorithm)
        return checksum, (await anyio.Path(path).stat()).st_size
    except OSError as error:
        raise NotFoundError(f"{path} cannot be read: {error.strerror}.") from error


def _checksum(path: Path, algorithm: Algorithm) -> Checksum:
    if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for
        raise NotFoundError(f"{path} cannot be read: it is not a file.")
    with path.open("rb") as file:
        return checksum_of(file, algorithm)
