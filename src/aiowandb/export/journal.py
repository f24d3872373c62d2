"""The journal of an export: what it is, and what of it is finished.

One JSON record a line, each on the disk before the next step is taken. What was being
written when the power went is a torn last line, which is as if it had never begun.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Any, Literal

import msgspec

from aiowandb.errors import ExportError
from aiowandb.export.folders.base import Folder
from aiowandb.export.options import ExportOptions
from aiowandb.export.parts import Listed, Part
from aiowandb.history.kinds import Kind

VERSION = 1


class Source(msgspec.Struct, frozen=True):
    """Which runs are exported."""

    host: str
    project: str
    filters: dict[str, Any] = {}
    order: str = ""


class _Record(msgspec.Struct, frozen=True, tag_field="record", tag=str.lower):
    """Something that has happened."""


class Begun(_Record, frozen=True):
    """The first record: what is exported, and how."""

    version: int
    source: Source
    options: ExportOptions


class Widened(_Record, frozen=True):
    """The columns of a dataset from now on, and which of them hold values that clash."""

    dataset: str
    kinds: dict[str, Kind]
    clashes: tuple[str, ...] = ()


class Planned(_Record, frozen=True):
    """The parts by number that will be dropped once those that replace them are there."""

    dataset: str
    drops: tuple[int, ...]


class Committed(_Record, frozen=True):
    """A part that is whole."""

    dataset: str
    part: Part


class Dropped(_Record, frozen=True):
    """Parts by number that are no parts any more. What was planned is done with that."""

    dataset: str
    parts: tuple[int, ...]


class Rendered(_Record, frozen=True):
    """A file that was made of these parts by number."""

    dataset: str
    file: str
    parts: tuple[int, ...]
    size: int


class Fetched(_Record, frozen=True):
    """All files, or all artifacts, of a run are here, as they were when it was listed so."""

    kind: Literal["files", "artifacts"]
    run: Listed


Record = Begun | Widened | Planned | Committed | Dropped | Rendered | Fetched


class Journal:
    """The records of an export, in the order in which it happened."""

    def __init__(self, folder: Folder, name: str) -> None:
        self._place = folder.location(name)
        self._log = folder.log(name)
        self._writing = Lock()
        lines = self._log.text.splitlines()
        try:
            self.records = [self._read(number, line) for number, line in enumerate(lines, 1)]
        except BaseException:
            self.close()
            raise

    def append(self, record: Record) -> None:
        """Write the record down, for good. May be called by several threads."""
        with self._writing:
            self._log.append(msgspec.json.encode(record))
            self.records.append(record)

    def close(self) -> None:
        self._log.close()

    def _read(self, number: int, line: bytes) -> Record:
        try:
            return _decode(line)
        except msgspec.MsgspecError as error:
            raise ExportError(
                f"{self._place} cannot be understood (line {number}: {error}):"
                " it is damaged, or of a newer aiowandb. Export with overwrite to start anew."
            ) from error


_decode: Callable[[bytes], Record] = msgspec.json.Decoder(Record).decode
