"""The journal of an export: what it is, and what of it is finished.

One JSON record a line. Its state is what the records amount to; when they have become much
longer than that, they are replaced by records that say just the state. What was being written
when the power went is a torn last line, which is as if it had never begun.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from threading import Lock
from typing import Any, Literal

import msgspec

from aiowandb.errors import ExportError
from aiowandb.export.folders.base import Folder
from aiowandb.export.options import ExportOptions
from aiowandb.export.stored import Part, RunSnapshot, StagedRun
from aiowandb.history.columns import Kind

VERSION = 1
# A log of this size is read and written in no time.
_SMALL = 1 << 16
_MUCH_LONGER = 2


class Source(msgspec.Struct, frozen=True):
    """Which runs are exported."""

    host: str
    project: str
    filters: dict[str, Any] = {}
    order: str = ""


class _Record(msgspec.Struct, frozen=True, tag_field="record", tag=str.lower):
    """Something that has happened."""


class Begun(_Record, frozen=True):
    """The first record: what is exported, and how.

    Names of parts have the `token`, if there is one: tables that were there before may know
    the others.
    """

    version: int
    source: Source
    options: ExportOptions
    token: str = ""


class Widened(_Record, frozen=True):
    """The columns of a dataset from now on, and which of them hold values that clash."""

    dataset: str
    kinds: dict[str, Kind]
    clashes: tuple[str, ...] = ()


class Planned(_Record, frozen=True):
    """The parts by number that will be dropped once those that replace them are there."""

    dataset: str
    drops: tuple[int, ...]


class Staged(_Record, frozen=True):
    """A run whose rows are complete, and whose part is not."""

    dataset: str
    run: StagedRun


class Unstaged(_Record, frozen=True):
    """Staged runs that are not needed any more, or lost."""

    dataset: str
    runs: tuple[str, ...]


class Committed(_Record, frozen=True):
    """A part that is complete."""

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


class Restored(_Record, frozen=True):
    """A dataset but for its parts, as the records before this one have left it."""

    dataset: str
    schema_number: int
    next_number: int
    kinds: dict[str, Kind]
    clashes: tuple[str, ...]
    files: tuple[str, ...]


class FetchedFile(msgspec.Struct, frozen=True, array_like=True):
    """A file as it was brought here, and its md5 in hex as far as W&B says it."""

    name: str
    size: int
    md5: str = ""


class Fetched(_Record, frozen=True):
    """All files, or all artifacts, of a run are here, as they were when it was listed so.

    Exports of old versions did not note which files those are.
    """

    kind: Literal["files", "artifacts"]
    run: RunSnapshot
    files: tuple[FetchedFile, ...] | None = None


class Deleted(_Record, frozen=True):
    """All runs of the export that W&B has no more."""

    runs: tuple[str, ...]


Record = (
    Begun
    | Widened
    | Planned
    | Staged
    | Unstaged
    | Committed
    | Dropped
    | Rendered
    | Restored
    | Fetched
    | Deleted
)


class DatasetState:
    """What the records of one dataset amount to."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.kinds: dict[str, Kind] = {}
        self.clashes: tuple[str, ...] = ()
        self.schema_number = 0
        self.next_number = 0
        # By number, and so in the order in which they were committed.
        self.parts: dict[int, Part] = {}
        # Parts that go when the plan that is carried out has replaced them.
        self.drops: frozenset[int] = frozenset()
        # Names that any part has ever had.
        self.files: set[str] = set()
        self.rendered: dict[str, Rendered] = {}
        self.staged: dict[str, StagedRun] = {}

    def apply(self, record: Record) -> None:
        match record:
            case Widened(kinds=kinds, clashes=clashes):
                self.kinds, self.clashes = kinds, clashes
                self.schema_number += 1
            case Planned(drops=drops):
                self.drops = frozenset(drops)
            case Staged(run=run):
                self.staged[run.stored.snapshot.run] = run
            case Unstaged(runs=runs):
                for run_id in runs:
                    self.staged.pop(run_id, None)
            case Committed(part=part):
                self.parts[part.number] = part
                self.files.add(part.file)
                self.next_number = part.number + 1
            case Dropped(parts=numbers):
                self.drops = self.drops.difference(numbers)
                for number in numbers:
                    self.parts.pop(number, None)
            case Rendered(file=file):
                self.rendered[file] = record
            case Restored():
                self.kinds, self.clashes = record.kinds, record.clashes
                self.schema_number, self.next_number = record.schema_number, record.next_number
                self.files.update(record.files)

    def records(self) -> Iterator[Record]:
        """Records that amount to the same."""
        for part in self.parts.values():
            yield Committed(self.name, part)
        yield Restored(
            self.name,
            self.schema_number,
            self.next_number,
            self.kinds,
            self.clashes,
            tuple(sorted(self.files)),
        )
        if self.drops:
            yield Planned(self.name, tuple(sorted(self.drops)))
        for run in self.staged.values():
            yield Staged(self.name, run)
        yield from self.rendered.values()


class ExportState:
    """What all records amount to."""

    def __init__(self) -> None:
        self.begun: Begun | None = None
        self.datasets: dict[str, DatasetState] = {}
        self.fetched: dict[tuple[str, str], Fetched] = {}
        self.deleted: tuple[str, ...] = ()

    def dataset(self, name: str) -> DatasetState:
        return self.datasets.setdefault(name, DatasetState(name))

    def apply(self, record: Record) -> None:
        match record:
            case Begun():
                self.begun = record
            case Fetched(kind, run):
                self.fetched[kind, run.run] = record
            case Deleted(runs):
                self.deleted = runs
            case _:
                self.dataset(record.dataset).apply(record)

    def records(self) -> Iterator[Record]:
        """Records that amount to the same, the first one first."""
        if self.begun:
            yield self.begun
        for dataset in self.datasets.values():
            yield from dataset.records()
        yield from self.fetched.values()
        if self.deleted:
            yield Deleted(self.deleted)


class Journal:
    """The state of an export, and the log that it is read from."""

    def __init__(self, folder: Folder, name: str) -> None:
        self.state = ExportState()
        self._place = folder.location(name)
        self._log = folder.log(name)
        self._writing = Lock()
        self._size = len(self._log.text)
        self._next_size = 0
        try:
            for number, line in enumerate(self._log.text.splitlines(), 1):
                self.state.apply(self._read(number, line))
        except BaseException:
            self.close()
            raise

    def append(self, record: Record, *, durable: bool = True) -> None:
        """Write the record down, for good if it is to be durable. Several threads may call."""
        line = msgspec.json.encode(record)
        with self._writing:
            self._log.append(line, durable=durable)
            self._size += len(line) + 1
            self.state.apply(record)
            self._compact()

    @property
    def records(self) -> list[Record]:
        """What there is, in as few records as possible."""
        return list(self.state.records())

    def close(self) -> None:
        self._log.close()

    def _compact(self) -> None:
        if self._size > max(self._next_size, _SMALL):
            text = _lines(self.state.records())
            self._next_size = _MUCH_LONGER * len(text)
            if self._size > self._next_size:
                self._log.replace(text)
                self._size = len(text)

    def _read(self, number: int, line: bytes) -> Record:
        try:
            return _decode(line)
        except msgspec.MsgspecError as error:
            raise ExportError(
                f"{self._place} cannot be understood (line {number}: {error}):"
                " it is damaged, or of a newer aiowandb. Export with overwrite to start anew."
            ) from error


def _lines(records: Iterable[Record]) -> bytes:
    return b"".join(msgspec.json.encode(record) + b"\n" for record in records)


_decode: Callable[[bytes], Record] = msgspec.json.Decoder(Record).decode
