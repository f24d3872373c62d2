"""Runs that are complete before the part that they belong to.

A part is a file of many runs, and appears when all of them are there. So that an export that is
killed reads no run twice, each run is kept as soon as its rows have come: as Arrow streams in a
file that grows run by run. Nothing of it is synced to the disk: after a power cut the checksum
tells which runs are there.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterator, Mapping

import pyarrow as pa

from aiowandb.export.folders.base import STATE_DIR, Folder, GrowingFile
from aiowandb.export.stored import StagedRun, StoredRun

_PIECE = 1 << 20
# An object store takes no single runs: it gets some together, now and then.
_BYTES_TOGETHER = 32 << 20
_SECONDS_TOGETHER = 20.0


class StagingFile:
    """Runs on their way into one part. All calls block.

    `on_kept` is called with each run that survives us from now on, and with whether it lies
    where it is to stay, on a disk, or was just brought into an object store.
    """

    def __init__(
        self,
        folder: Folder,
        name: str,
        on_kept: Callable[[StagedRun, bool], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._name = name
        self._on_kept = on_kept
        self._clock = clock
        self._published_at = clock()
        self._file: GrowingFile | None = None
        self._files = 0
        self._start = 0
        self._size = 0
        self._checksum = 0
        self._waiting: list[StagedRun] = []

    def write(self, batch: pa.RecordBatch) -> None:
        """Add rows of the run that is under way."""
        if self._file is None:
            self._file = self._folder.grow(self._path)
        content = _encoded(batch)
        self._file.write(content)
        self._size += len(content)
        self._checksum = zlib.crc32(content, self._checksum)

    def finish_run(self, stored: StoredRun) -> None:
        """All rows of the run are there."""
        if self._file is None:
            return
        path = self._path
        self._waiting.append(StagedRun(stored, path, self._start, self._size, self._checksum))
        self._start += self._size
        self._size = self._checksum = 0
        if self._file.is_in_place or self._is_due:
            self.publish()

    def discard_run(self) -> None:
        """Forget the rows of the run that is under way."""
        if self._file and self._size:
            self._file.truncate(self._start)
        self._size = self._checksum = 0

    def publish(self) -> None:
        """Let the runs that are finished survive us."""
        if self._file is None or not self._waiting:
            return
        is_in_place = self._file.is_in_place
        if not is_in_place:
            self.discard_run()
            self._file.publish()
            self._file.close()
            self._file, self._start = None, 0
            self._files += 1
        for run in self._waiting:
            self._on_kept(run, is_in_place)
        self._waiting = []
        self._published_at = self._clock()

    def close(self) -> None:
        if self._file:
            self._file.close()
            self._file = None

    @property
    def _path(self) -> str:
        return f"{self._name}-{self._files}.arrows"

    @property
    def _is_due(self) -> bool:
        waited = self._clock() - self._published_at
        return self._start >= _BYTES_TOGETHER or waited >= _SECONDS_TOGETHER


def staged_batches(folder: Folder, run: StagedRun) -> Iterator[pa.RecordBatch]:
    """The rows of a run."""
    with folder.open(run.file) as file:
        file.seek(run.start)
        while file.tell() < run.start + run.size:
            with pa.ipc.open_stream(file) as stream:
                yield from stream


def intact_runs(folder: Folder, runs: Mapping[str, StagedRun]) -> dict[str, StagedRun]:
    """Those of the runs whose rows are really there, as a power cut may have left them."""
    sizes = folder.files(STAGED)
    return {
        name: run
        for name, run in runs.items()
        if sizes.get(run.file.rpartition("/")[2], 0) >= run.start + run.size
        and _checksum(folder, run) == run.checksum
    }


STAGED = f"{STATE_DIR}/staged"


def _checksum(folder: Folder, run: StagedRun) -> int:
    checksum, left = 0, run.size
    with folder.open(run.file) as file:
        file.seek(run.start)
        while left and (piece := file.read(min(left, _PIECE))):
            checksum = zlib.crc32(piece, checksum)
            left -= len(piece)
    return checksum


def _encoded(batch: pa.RecordBatch) -> pa.Buffer:
    """The batch as an Arrow stream of its own, without the columns that have no values."""
    names = [
        name
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
        if column.null_count < len(column)
    ]
    batch = batch.select(names)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
    return sink.getvalue()
