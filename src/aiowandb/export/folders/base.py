"""What an export needs of the folder that it writes into, on a disk or in an object store.

Names are relative to the folder and have slashes. What is not finished lies in
`.aiowandb-export`, which readers of datasets skip. All calls block, and are made by one
thread at a time unless they say otherwise.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from aiowandb.errors import AiowandbError, ExportError

STATE_DIR = ".aiowandb-export"
_logger = logging.getLogger(__name__)


class Log(Protocol):
    """A list of lines that only grows, and the text that it had when it was opened.

    A line is there completely or not at all, also after an error, a kill or a power cut.
    """

    text: bytes

    def append(self, line: bytes, *, durable: bool = True) -> None:
        """Add a line, which has no line break.

        One that is not durable may be lost in a power cut, or in an object store when the
        process is killed, unless a durable one has followed.
        """
        ...

    def replace(self, text: bytes) -> None:
        """Have these lines instead of all that there are; readers see the old or the new ones."""
        ...

    def close(self) -> None: ...


class GrowingFile(Protocol):
    """A file of bytes that is written from its start to its end, over several exports if need be.

    On a disk it survives a kill: what was written is there when it is opened again. In an
    object store it lies on this machine until it is published.
    """

    # Whether what is written needs no publishing.
    is_in_place: bool

    @property
    def path(self) -> Path:
        """Where it can be read, or mapped into memory, on this machine."""
        ...

    @property
    def size(self) -> int: ...

    def write(self, data: bytes | bytearray | memoryview | pa.Buffer) -> None:
        """Add all of the bytes, or none of them and raise."""
        ...

    def truncate(self, size: int) -> None:
        """Keep the first `size` bytes."""
        ...

    def publish(self) -> None:
        """Let it be found in the folder under its name, as it is now."""
        ...

    def close(self) -> None: ...


class Folder(Protocol):
    """Files that appear completely or not at all."""

    def lock(self) -> AbstractContextManager[None]:
        """Make the folder and be the only export in it while the block runs."""
        ...

    def draft(self, name: str) -> Path:
        """Where a file can be written, on this machine, before it is put in its place."""
        ...

    def put(self, draft: Path, name: str) -> None:
        """Let the draft appear under the name, whatever is there now."""
        ...

    def move(self, name: str, to: str) -> None: ...

    def remove(self, name: str) -> None:
        """Remove the file if there is one."""
        ...

    def open(self, name: str) -> pa.NativeFile:
        """The file to be read, at any place in it."""
        ...

    def check(self) -> None:
        """Raise if another export has taken the folder over, as it may one that slept.

        `put`, `move`, `remove` and logs do so by themselves. Others who write into the folder
        call it right before.
        """
        ...

    def log(self, name: str, *, fresh: bool = False) -> Log:
        """The log of this name; with `fresh`, an empty one, whatever was there."""
        ...

    def grow(self, name: str) -> GrowingFile:
        """The file of this name to be written on where it ends, or a new one."""
        ...

    def size(self, name: str) -> int | None:
        """The size of a file, None if there is none."""
        ...

    def remove_folder(self, folder: str) -> None:
        """Remove a folder within this one with all that is in it, if there is one."""
        ...

    def files(self, folder: str, *, recursive: bool = False) -> dict[str, int]:
        """The files in a folder within this one and their sizes; none if it is not there.

        Names are relative to that folder, with slashes if those of its folders are wanted too.
        """
        ...

    def location(self, name: str) -> Path | str:
        """Where users find the file."""
        ...

    def url(self, name: str) -> str | None:
        """The same for others who open it by themselves, credentials included, if they can."""
        ...


@cache
def warn_once(message: str) -> None:
    """Log what is not guaranteed in a folder; once is enough, however often it is exported into."""
    _logger.warning("%s", message)


@contextmanager
def plain_errors(place: Path | str) -> Iterator[None]:
    """Raise what the operating system complains of as an `ExportError` that names the place."""
    try:
        yield
    except AiowandbError:
        raise  # our TimeoutError is an OSError too
    except OSError as error:
        # pyarrow's errors have the number, and words of their own.
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise ExportError(f"Cannot write {place}: {reason}.") from error
