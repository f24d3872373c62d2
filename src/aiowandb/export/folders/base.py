"""The interface of the folder that an export writes to, on a disk or in an object store.

Names are relative to the folder and have slashes. Unfinished files are in `.aiowandb-export`,
which readers of datasets skip. All calls block, and are made by one thread at a time unless
their docstrings say otherwise.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path
from typing import Annotated, Protocol, TypeAlias, TypeVar

import msgspec
import pyarrow as pa

from aiowandb.atomic import reason_of
from aiowandb.errors import AiowandbError, ExportError

T = TypeVar("T")

STATE_DIR = ".aiowandb-export"
# The name of a file in what was written of an export. Who has changed that may have written a name
# that leads out of the folder, to files that would be replaced and removed.
_INSIDE = r"(?s)\A(?![/\\]|[A-Za-z]:)(?!(?:.*[/\\])?\.\.(?:[/\\]|\Z))[^\0]+\Z"
_NOT_INSIDE = f"`str` matching regex {_INSIDE!r}"
InnerName: TypeAlias = Annotated[str, msgspec.Meta(pattern=_INSIDE)]
# More than this is not the state of any export: a sparse file of any size takes no room.
_LARGEST_STATE = 2 << 30
_logger = logging.getLogger(__name__)


class Log(Protocol):
    """An append-only list of lines, with the text that it had when it was opened.

    A line is written completely or not at all, also after an error, a kill or a power cut.
    """

    text: bytes

    def append(self, line: bytes, *, durable: bool = True) -> None:
        """Add a line, given without a line break.

        Unless it is durable, it may be lost in a power cut, or in an object store if the process
        is killed, until a durable line follows.
        """
        ...

    def replace(self, text: bytes) -> None:
        """Replace all lines by this text, atomically."""
        ...

    def close(self) -> None: ...


class GrowingFile(Protocol):
    """A file that is appended to, in one export or in several.

    On a disk, the written data survives a kill. For an object store, the file is on this machine
    until it is published.
    """

    # Whether the file is written in its place, and need not be published.
    is_in_place: bool

    @property
    def path(self) -> Path:
        """Where it can be read on this machine."""
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
        """Make its present content available in the folder, under its name."""
        ...

    def close(self) -> None: ...


class Folder(Protocol):
    """A folder whose files appear completely or not at all."""

    def lock(self) -> AbstractContextManager[None]:
        """Create the folder and lock it against other exports while the block runs."""
        ...

    def draft(self, name: str) -> Path:
        """Where to write a file, on this machine, before it is put into the folder."""
        ...

    def put(self, draft: Path, name: str) -> None:
        """Move the draft into the folder under this name, replacing any file there."""
        ...

    def move(self, name: str, to: str) -> None: ...

    def remove(self, name: str) -> None:
        """Remove the file if there is one."""
        ...

    def open(self, name: str) -> pa.NativeFile:
        """Open the file for random reads."""
        ...

    def check(self) -> None:
        """Raise if another export has taken over the folder, as may happen after a machine slept.

        `put`, `move`, `remove` and logs do this themselves. Other code calls it right before it
        writes.
        """
        ...

    def log(self, name: str, *, fresh: bool = False) -> Log:
        """Open the log of this name; with `fresh`, empty it first."""
        ...

    def read_log(self, name: str) -> bytes:
        """The text of the log, which need not exist; nothing is written, no lock is needed."""
        ...

    def grow(self, name: str) -> GrowingFile:
        """Open the file of this name for appending, or create it."""
        ...

    def size(self, name: str) -> int | None:
        """The size of the file; None if it does not exist."""
        ...

    def remove_folder(self, folder: str) -> None:
        """Remove a subfolder and everything in it, if there is one."""
        ...

    def files(self, folder: str, *, recursive: bool = False) -> dict[str, int]:
        """The files in a subfolder and their sizes; none if it does not exist.

        Names are relative to the subfolder, with slashes if `recursive`.
        """
        ...

    def location(self, name: str) -> Path | str:
        """Where users find the file."""
        ...

    def url(self, name: str) -> str | None:
        """The location for libraries that open it themselves, with credentials; None if there is
        none."""
        ...


@cache
def warn_once(message: str) -> None:
    """Log a warning about a folder only once in this process."""
    _logger.warning("%s", message)


def state_decoder(decode: Callable[[bytes], T]) -> Callable[[bytes], T]:
    """A decoder of msgspec for what exports write, with plain reasons for what they do not."""

    def decoded(text: bytes) -> T:
        try:
            return decode(text)
        except RecursionError:
            raise msgspec.DecodeError("it is nested too deeply") from None
        except msgspec.ValidationError as error:
            said = str(error).replace(_NOT_INSIDE, "the name of a file in the folder")
            raise msgspec.ValidationError(said) from None

    return decoded


def require_size_of_state(place: Path | str, size: int) -> None:
    """Raise an `ExportError` for a file that would be read at once, and is too large for that."""
    if size > _LARGEST_STATE:
        raise ExportError(
            f"{place} has {size >> 30:,} GB, which no export has written. Remove it, and use repair"
            " to make it again from the files that are whole."
        )


@contextmanager
def plain_errors(place: Path | str) -> Iterator[None]:
    """Raise errors of the operating system as an `ExportError` that names the place."""
    try:
        yield
    except AiowandbError:
        raise  # our TimeoutError is an OSError too
    except OSError as error:
        raise ExportError(f"Cannot write {place}: {reason_of(error)}.") from error


@contextmanager
def read_errors(place: Path | str) -> Iterator[None]:
    """Raise an `ExportError` if the file system fails, as network file systems may at any time.

    Not if the file is missing or its content is damaged (pyarrow's errors have no number then): it
    can be written again.
    """
    try:
        yield
    except (AiowandbError, FileNotFoundError):
        raise
    except OSError as error:
        if error.errno is None:
            raise
        raise ExportError(f"Cannot read {place}: {os.strerror(error.errno)}.") from error
