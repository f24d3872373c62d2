"""The journal of an export: its options and its state.

One JSON record per line. Replaying the records gives the state. When the log is much longer than
the state, it is compacted: replaced by records that give the same state. A torn last line, which
a power cut may leave, is ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from threading import Lock
from typing import Any, Literal

import msgspec

from aiowandb.choices import What
from aiowandb.errors import ExportError
from aiowandb.export.folders.base import Folder, InnerName, state_decoder
from aiowandb.export.options import ExportOptions
from aiowandb.export.stored import Part, RunSnapshot, StagedRun
from aiowandb.history.columns import Kind

VERSION = 1
# A smaller log is not worth compacting.
_SMALL = 1 << 16
_COMPACT_RATIO = 2


class ExportIdentity(msgspec.Struct, frozen=True):
    """Which runs are exported: a folder takes only exports of the same ones."""

    host: str
    project: str
    filters: dict[str, Any] = {}
    order: str = ""


class _Record(msgspec.Struct, frozen=True, tag_field="record", tag=str.lower):
    """A change of the state. The names of records and fields are those in the file."""


class Begun(_Record, frozen=True):
    """The first record: what is exported, and how.

    If there is a `token`, it is part of the names of parts: an earlier table may still refer to
    parts without it. `sealed` says that the export has a manifest when it ends, which those of
    earlier versions do not.
    """

    version: int
    identity: ExportIdentity = msgspec.field(name="source")
    options: ExportOptions
    token: str = ""
    sealed: bool = False


class Widened(_Record, frozen=True):
    """The new columns of a dataset, and which of them hold values that clash."""

    dataset: InnerName
    kinds: dict[str, Kind]
    clashes: tuple[str, ...] = ()


class Planned(_Record, frozen=True):
    """The numbers of parts that will be dropped once their replacements are committed."""

    dataset: InnerName
    drops: tuple[int, ...]


class Staged(_Record, frozen=True):
    """A run whose rows are complete while its part is not."""

    dataset: InnerName
    run: StagedRun


class Unstaged(_Record, frozen=True):
    """Staged runs that are no longer needed, or lost."""

    dataset: InnerName
    runs: tuple[str, ...]


class Committed(_Record, frozen=True):
    """A part that is complete."""

    dataset: InnerName
    part: Part


class Dropped(_Record, frozen=True):
    """The numbers of parts that were removed from the dataset."""

    dataset: InnerName
    parts: tuple[int, ...]


class Rendered(_Record, frozen=True):
    """A file in another format that was made of the parts with these numbers."""

    dataset: InnerName
    file: InnerName
    parts: tuple[int, ...]
    size: int


class Restored(_Record, frozen=True):
    """The state of a dataset without its parts, after a compaction."""

    dataset: InnerName
    schema_number: int
    next_number: int
    kinds: dict[str, Kind]
    clashes: tuple[str, ...]
    files: tuple[InnerName, ...]


class FetchedFile(msgspec.Struct, frozen=True, array_like=True):
    """A file as it was downloaded, and its checksum in hex if W&B gave one.

    That is an MD5, or what `Checksum.text` makes of another one.
    """

    name: InnerName
    size: int
    md5: str = ""


class UsedArtifact(msgspec.Struct, frozen=True, array_like=True):
    """An artifact version that a run has used, whoever has made it. Its name has no version."""

    id: str
    name: str
    version: int
    type: str
    digest: str


class Fetched(_Record, frozen=True):
    """All files, or all artifacts, of a run in this state were downloaded.

    Exports of old versions did not record which files those were, nor the artifacts: the ids of
    those that the run has logged, as other runs may have too, and those that it has used.
    `described` has a digest of what people may change of a version, by the folder of its files.
    """

    kind: Literal["files", "artifacts"]
    run: RunSnapshot
    files: tuple[FetchedFile, ...] | None = None
    used: tuple[UsedArtifact, ...] | None = None
    logged: tuple[str, ...] | None = None
    described: dict[str, str] | None = None


class Deleted(_Record, frozen=True):
    """All runs of the export that no longer exist at W&B."""

    runs: tuple[str, ...]


class Failed(_Record, frozen=True):
    """The runs that could not be exported completely, by the kind of data that they lack."""

    runs: dict[What, tuple[str, ...]]


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
    | Failed
)


class DatasetState:
    """The state of one dataset: the result of its records."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.kinds: dict[str, Kind] = {}
        self.clashes: tuple[str, ...] = ()
        self.schema_number = 0
        self.next_number = 0
        # By number, which is the order in which they were committed.
        self.parts: dict[int, Part] = {}
        # Parts to drop once the current plan has replaced them.
        self.drops: frozenset[int] = frozenset()
        # All names that parts ever had.
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
        """The shortest list of records with this state."""
        for part in self.parts.values():
            yield Committed(self.name, part)
        # After the parts, whose records would set the next number back to theirs.
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
    """The state of an export: the result of all records."""

    def __init__(self) -> None:
        self.begun: Begun | None = None
        self.datasets: dict[str, DatasetState] = {}
        self.fetched: dict[tuple[str, str], Fetched] = {}
        self.deleted: tuple[str, ...] = ()
        self.failed: dict[What, tuple[str, ...]] = {}

    @property
    def stored_runs(self) -> Iterator[str]:
        """The runs that have rows in parts, those in several tables several times."""
        for dataset in self.datasets.values():
            for part in dataset.parts.values():
                yield from (stored.snapshot.run for stored in part.runs)

    @property
    def failed_runs(self) -> set[str]:
        """The runs that could not be exported completely."""
        return {run for runs in self.failed.values() for run in runs}

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
            case Failed(failed):
                self.failed = failed
            case _:
                self.dataset(record.dataset).apply(record)

    def records(self) -> Iterator[Record]:
        """The shortest list of records with this state."""
        if self.begun:
            yield self.begun
        for dataset in self.datasets.values():
            yield from dataset.records()
        yield from self.fetched.values()
        if self.deleted:
            yield Deleted(self.deleted)
        if self.failed:
            yield Failed(self.failed)


class Journal:
    """The log of an export, and the state that it gives."""

    def __init__(self, folder: Folder, name: str) -> None:
        self.state = ExportState()
        self._location = folder.location(name)
        self._log = folder.log(name)
        self._lock = Lock()
        self._size = len(self._log.text)
        self._compact_at = 0
        try:
            _replay(self._log.text, self.state, self._location)
        except BaseException:
            self.close()
            raise

    def append(self, record: Record, *, durable: bool = True) -> None:
        """Write the record, and sync it to the disk if `durable`. Threads may share the journal."""
        line = msgspec.json.encode(record)
        with self._lock:
            self._log.append(line, durable=durable)
            self._size += len(line) + 1
            self.state.apply(record)
            self._compact()

    @property
    def records(self) -> list[Record]:
        """The shortest list of records with this state."""
        return list(self.state.records())

    def close(self) -> None:
        self._log.close()

    def _compact(self) -> None:
        if self._size > max(self._compact_at, _SMALL):
            text = record_lines(self.state.records())
            self._compact_at = _COMPACT_RATIO * len(text)
            if self._size > self._compact_at:
                self._log.replace(text)
                self._size = len(text)


def read_state(folder: Folder, name: str) -> ExportState:
    """The state in the folder's log of this name, which need not exist. Nothing is written."""
    state = ExportState()
    _replay(folder.read_log(name), state, folder.location(name))
    return state


def _replay(text: bytes, state: ExportState, location: Path | str) -> None:
    for number, line in enumerate(text.splitlines(), 1):
        try:
            state.apply(decode_record(line))
        except msgspec.MsgspecError as error:
            raise ExportError(
                f"{location} cannot be read (line {number}: {error}):"
                " it is damaged, or was written by a newer aiowandb. Use repair to make it again"
                " from the files that are whole, or overwrite to start over."
            ) from error


def record_lines(records: Iterable[Record]) -> bytes:
    """The records as the text of a journal."""
    return b"".join(msgspec.json.encode(record) + b"\n" for record in records)


# A record of a journal, from its line.
decode_record: Callable[[bytes], Record] = state_decoder(msgspec.json.Decoder(Record).decode)
