"""The folder that an export is written into, on this machine.

Names are relative and have slashes. What is under way lies in `.aiowandb-export`, which
readers of datasets skip, and takes its place when it is whole. All calls block.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aiowandb.errors import AiowandbError, ExportError
from aiowandb.whole import sync_folder

WORKPLACE = ".aiowandb-export"


class Folder:
    """Files that appear whole or not at all."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.drafts = root / WORKPLACE / "drafts"

    def prepare(self) -> None:
        """Make the folder, and clear away what a killed export was writing."""
        with plain_errors(self.root):
            shutil.rmtree(self.drafts, ignore_errors=True)
            self.drafts.mkdir(parents=True)

    def draft(self, name: str) -> Path:
        """Where a file can be written before it is put in its place."""
        return self.drafts / name.replace("/", "-")

    def put(self, draft: Path, name: str) -> None:
        """Let the draft appear under the name, whatever is there now."""
        with plain_errors(self.root / name), draft.open("r+b") as file:
            os.fsync(file.fileno())
        self._move(draft, self.root / name)

    def move(self, name: str, to: str) -> None:
        self._move(self.root / name, self.root / to)

    def remove(self, name: str) -> None:
        with plain_errors(self.root / name):
            (self.root / name).unlink(missing_ok=True)

    def path(self, name: str) -> Path:
        return self.root / name

    def size(self, name: str) -> int | None:
        """The size of a file, None if there is none."""
        try:
            return (self.root / name).stat().st_size
        except FileNotFoundError:
            return None

    def names(self, folder: str) -> list[str]:
        """The names of the files in a folder within this one; none if it is not there."""
        try:
            return [entry.name for entry in os.scandir(self.root / folder) if entry.is_file()]
        except FileNotFoundError:
            return []

    def _move(self, source: Path, target: Path) -> None:
        with plain_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            source.replace(target)
            sync_folder(target.parent)


@contextmanager
def plain_errors(path: Path | str) -> Iterator[None]:
    """Say what the operating system complains of in words of the export."""
    try:
        yield
    except AiowandbError:
        raise  # our TimeoutError is an OSError too
    except OSError as error:
        raise ExportError(f"Cannot write {path}: {_reason(error)}.") from error


def _reason(error: OSError) -> str:
    # pyarrow's errors have the number but words of their own.
    return os.strerror(error.errno) if error.errno else str(error)
