"""What an export needs of the place that it is written into, on a disk or in an object store.

Names are relative and have slashes. What is under way lies in `.aiowandb-export`, which
readers of datasets skip, and takes its place when it is whole. All calls block.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from aiowandb.errors import AiowandbError, ExportError

STATE_DIR = ".aiowandb-export"


class Log(Protocol):
    """A file that only grows, and what it had when it was opened."""

    text: bytes

    def append(self, line: bytes) -> None:
        """Add a line, for good."""
        ...

    def close(self) -> None: ...


class Folder(Protocol):
    """Files that appear whole or not at all."""

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

    def log(self, name: str) -> Log: ...

    def size(self, name: str) -> int | None:
        """The size of a file, None if there is none."""
        ...

    def files(self, folder: str) -> dict[str, int]:
        """The files in a folder within this one and their sizes; none if it is not there."""
        ...

    def location(self, name: str) -> Path | str:
        """Where users find the file."""
        ...

    def url(self, name: str) -> str | None:
        """The same for others who open it by themselves, credentials included, if they can."""
        ...


@contextmanager
def plain_errors(place: Path | str) -> Iterator[None]:
    """Say what the operating system complains of in words of the export."""
    try:
        yield
    except AiowandbError:
        raise  # our TimeoutError is an OSError too
    except OSError as error:
        # pyarrow's errors have the number, and words of their own.
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise ExportError(f"Cannot write {place}: {reason}.") from error
