"""Staging: keeps runs that are complete before the part that they belong to.

A part is a file of many runs, and appears when all of them are complete. So that a killed export
reads no run twice, each run is staged as soon as its rows have arrived: as Arrow streams in a file
that grows run by run. This file is not synced to the disk: after a power cut, checksums tell which
runs are intact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import pyarrow as pa
import xxhash

from aiowandb.export.commit_pace import CommitPace
from aiowandb.export.folders.base import STATE_DIR, Folder, GrowingFile, read_errors
from aiowandb.export.stored import StagedRun, StoredRun

STAGED = f"{STATE_DIR}/staged"
_READ_SIZE = 1 << 20
# Into an object store, runs are uploaded together, at this size or after this time: at first often,
# and later rarely, because each upload is an object that has to be removed again.
_UPLOAD_BYTES = 32 << 20
_UPLOAD_SHARE, _UPLOAD_SECONDS = 0.05, 20.0


class StagingFile:
    """The staged runs of one part. All calls block.

    `on_staged` is called with each run that would survive a kill once that is recorded, and with
    whether the record must be durable: on a disk it need not be, as the run is not synced, either,
    and of the runs of an upload the last record stands for all.
    """

    def __init__(
        self,
        folder: Folder,
        name: str,
        on_staged: Callable[[StagedRun, bool], None],
        pace: CommitPace | None = None,
    ) -> None:
        self._folder = folder
        self._name = name
        self._on_staged = on_staged
        self._pace = pace or CommitPace(1.0, _UPLOAD_SHARE, _UPLOAD_SECONDS)
        self._file: GrowingFile | None = None
        self._files = 0
        self._start = 0
        self._size = 0
        self._checksum = xxhash.xxh3_64()
        self._waiting: list[StagedRun] = []
        # Batches are encoded into the same memory, one after another: new memory would have to
        # be cleared each time.
        self._room = pa.allocate_buffer(0)

    def write(self, batch: pa.RecordBatch) -> None:
        """Add rows of the current run."""
        if self._file is None:
            self._file = self._folder.grow(self._path)
        content = self._encode(batch)
        self._file.write(content)
        self._size += len(content)
        self._checksum.update(content)

    def finish_run(self, stored: StoredRun) -> None:
        """Complete the current run."""
        if self._file is None:
            return
        path = self._path
        checksum = self._checksum.intdigest()
        self._waiting.append(StagedRun(stored, path, self._start, self._size, checksum))
        self._start += self._size
        self._begin_run()
        if self._file.is_in_place or self._is_due:
            self.publish()

    def discard_run(self) -> None:
        """Discard the rows of the current run."""
        if self._file and self._size:
            self._file.truncate(self._start)
        self._begin_run()

    def publish(self) -> None:
        """Make sure that the finished runs survive a kill."""
        if self._file is None or not self._waiting:
            return
        is_in_place = self._file.is_in_place
        with self._pace.committing():
            if not is_in_place:
                self.discard_run()
                self._file.publish()
                self._file.close()
                self._file, self._start = None, 0
                self._files += 1
            for run in self._waiting:
                self._on_staged(run, not is_in_place and run is self._waiting[-1])
        self._waiting = []

    def close(self) -> None:
        if self._file:
            self._file.close()
            self._file = None

    def _begin_run(self) -> None:
        self._size = 0
        self._checksum.reset()

    def _encode(self, batch: pa.RecordBatch) -> pa.Buffer:
        """The batch as an Arrow stream of its own, without columns that have only nulls.

        It is valid until the next one is encoded.
        """
        names = [
            name
            for name, column in zip(batch.schema.names, batch.columns, strict=True)
            if column.null_count < len(column)
        ]
        batch = batch.select(names)
        counter = pa.MockOutputStream()
        _write_stream(batch, counter)
        if counter.size() > self._room.size:
            self._room = pa.allocate_buffer(counter.size() * 5 // 4)
        _write_stream(batch, pa.FixedSizeBufferWriter(self._room))
        return self._room.slice(0, counter.size())

    @property
    def _path(self) -> str:
        return f"{self._name}-{self._files}.arrows"

    @property
    def _is_due(self) -> bool:
        return self._start >= _UPLOAD_BYTES or self._pace.is_due


def staged_batches(folder: Folder, run: StagedRun) -> Iterator[pa.RecordBatch]:
    """The rows of a run."""
    with read_errors(run.file), folder.open(run.file) as file:
        file.seek(run.start)
        while file.tell() < run.start + run.size:
            with pa.ipc.open_stream(file) as stream:
                yield from stream


def intact_runs(folder: Folder, runs: Mapping[str, StagedRun]) -> dict[str, StagedRun]:
    """The runs whose rows are undamaged: a power cut may have lost some."""
    sizes = folder.files(STAGED)
    return {
        name: run
        for name, run in runs.items()
        if sizes.get(run.file.rpartition("/")[2], 0) >= run.start + run.size
        and _checksum(folder, run) == run.checksum
    }


def _checksum(folder: Folder, run: StagedRun) -> int:
    checksum, left = xxhash.xxh3_64(), run.size
    with read_errors(run.file), folder.open(run.file) as file:
        file.seek(run.start)
        while left and (piece := file.read(min(left, _READ_SIZE))):
            checksum.update(piece)
            left -= len(piece)
    return checksum.intdigest()


def _write_stream(batch: pa.RecordBatch, sink: pa.NativeFile) -> None:
    with pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
