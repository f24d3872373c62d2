"""TensorBoard's logs as a source: as in TensorBoard, each folder with event files is a run."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from datetime import datetime
from hashlib import md5, sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiowandb.concurrency.threads import run_sync
from aiowandb.errors import UsageError
from aiowandb.history.columns import columns_to_batch
from aiowandb.ingest.facts import moment
from aiowandb.ingest.local_files import files_below, require_file_or_folder
from aiowandb.ingest.source import RunFacts, Source, SourceFile, SourceRun
from aiowandb.ingest.sources.event_files import Event, EventFile, Histogram, HParams, Image
from aiowandb.wire.rows import RUNTIME, STEP, TIME

if TYPE_CHECKING:
    import pyarrow as pa

MARK = ".tfevents."
_ROWS_AT_ONCE = 2_000
# W&B's own client makes no histograms with more bins.
_MOST_BINS = 512
_NOT_IN_IDS = re.compile(r"[:;,#?/'\\%\s]+")

Row = dict[str, Any]


class TensorBoardSource(Source):
    """The runs in a folder of TensorBoard's logs.

    Scalars, texts, histograms and images become rows by step, and hyperparameters the config.
    """

    name = "TensorBoard's files"

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)

    async def runs(self) -> AsyncGenerator[SourceRun]:
        folders = await run_sync(folders_in, self._path)
        if not folders:
            raise UsageError(f"{self._path} has no event files, whose names contain {MARK}.")
        used = Counter[str]()
        for name, files in folders.items():
            run_id = _NOT_IN_IDS.sub("-", name).strip("-") or "run"
            used[run_id] += 1
            if used[run_id] > 1:
                run_id = f"{run_id}-{used[run_id]}"
            yield await run_sync(_open, run_id, name, files)

    def identity(self, run: SourceRun) -> str:
        created = run.facts.created_at
        return f"{self.name}/{run.facts.id} of {created.isoformat() if created else 'any time'}"


def folders_in(path: Path) -> dict[str, list[Path]]:
    """The folders with event files, by their paths relative to this one. Blocks."""
    require_file_or_folder(path)
    if path.is_file():
        return {path.parent.name: [path]} if MARK in path.name else {}
    found: dict[str, list[Path]] = {}
    for file in files_below(path):
        if MARK in file.name:
            below = file.parent.relative_to(path).as_posix()
            found.setdefault(path.resolve().name if below == "." else below, []).append(file)
    return found


class TensorBoardRun(SourceRun):
    """The values of one folder."""

    def __init__(self, facts: RunFacts, files: Sequence[Path], read: _Read, stamp: str) -> None:
        super().__init__(facts, stamp)
        self.dropped = tuple(read.dropped)
        self.literal_keys = frozenset(read.tags)
        self._files = files
        self._rows = read.rows

    def estimate(self, stored: int) -> dict[str, int]:
        rows = max(0, self._rows - stored)
        return {"rows": rows, "requests": 5 + rows // 5_000}

    async def rows(self) -> AsyncGenerator[pa.RecordBatch]:
        rows = (await run_sync(lambda: _Read(self._files))).sorted_rows()
        for first in range(0, len(rows), _ROWS_AT_ONCE):
            some = rows[first : first + _ROWS_AT_ONCE]
            names = dict.fromkeys((STEP, *(name for row in some for name in row)))
            yield columns_to_batch({name: [row.get(name) for row in some] for name in names})

    async def files(self) -> AsyncGenerator[SourceFile]:
        known = set[str]()
        events = _events(self._files)
        while event := await run_sync(_next_image, events):
            file = _image_file(event)
            if file.name not in known:
                known.add(file.name)
                yield file


class _Read:
    """The values in the event files of a run, combined by step."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.config: dict[str, Any] = {}
        self.tags: set[str] = set()
        self.dropped: list[str] = []
        self._by_step: dict[int, Row] = {}
        self._start = float("inf")
        left_out = Counter[str]()
        for path in files:
            file = EventFile(path)
            for event in file:
                self._start = min(self._start, event.time)
                if isinstance(event.value, HParams):
                    self.config |= event.value.values
                elif event.value is not None:
                    self._add(event)
                elif event.plugin != "hparams":
                    left_out[event.plugin or "unknown"] += 1
            self.dropped += file.damage
        self.dropped += [f"{count} values of the kind {kind}" for kind, count in left_out.items()]

    @property
    def rows(self) -> int:
        return len(self._by_step)

    @property
    def created_at(self) -> datetime | None:
        return moment(self._start) if self._by_step else None

    def sorted_rows(self) -> list[Row]:
        """The rows in step order, with the times of their last values."""
        rows = [self._by_step[step] for step in sorted(self._by_step)]
        for row in rows:
            row[RUNTIME] = row[TIME] - self._start
        return rows

    def summary(self) -> Row:
        """The last value of each tag."""
        last: Row = {}
        for row in self.sorted_rows():
            last |= row
        return last

    def _add(self, event: Event) -> None:
        # If a step has two values, the later one: the script was restarted.
        row = self._by_step.setdefault(event.step, {STEP: event.step, TIME: event.time})
        row[TIME] = max(row[TIME], event.time)
        row[event.tag] = _shown(event)
        self.tags.add(event.tag)


def _open(run_id: str, name: str, files: Sequence[Path]) -> TensorBoardRun:
    read = _Read(files)
    facts = RunFacts.of(
        run_id,
        name=name,
        config=read.config,
        summary=read.summary(),
        created_at=read.created_at,
    )
    sizes = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return TensorBoardRun(facts, files, read, facts.stamp(sizes))


def _shown(event: Event) -> Any:
    """The value in W&B's format."""
    if isinstance(event.value, Histogram):
        return _as_object(event.value)
    if isinstance(event.value, Image):
        file = _image_file(event)
        return {
            "_type": "image-file",
            "path": file.name,
            "sha256": sha256(event.value.content).hexdigest(),
            "size": file.size,
            "width": event.value.width,
            "height": event.value.height,
            "format": event.value.suffix,
        }
    return event.value


def _as_object(histogram: Histogram) -> dict[str, Any]:
    edges, counts = list(histogram.edges), list(histogram.counts)
    while len(counts) > _MOST_BINS:  # neighbours become one
        edges = [*edges[:-1:2], edges[-1]]
        counts = [sum(counts[place : place + 2]) for place in range(0, len(counts), 2)]
    return {"_type": "histogram", "values": counts, "bins": edges}


def _image_file(event: Event) -> SourceFile:
    image = event.value
    if not isinstance(image, Image):
        raise TypeError(f"{event.tag} is not an image")
    content = image.content
    digest = md5(content, usedforsecurity=False).hexdigest()
    tag = _NOT_IN_IDS.sub("_", event.tag)

    async def once() -> AsyncIterator[bytes]:
        yield content

    name = f"media/images/{tag}_{event.step}_{digest[:20]}.{image.suffix}"
    return SourceFile(name, len(content), digest, once)


def _events(files: Sequence[Path]) -> Iterator[Event]:
    for path in files:
        yield from EventFile(path)


def _next_image(events: Iterator[Event]) -> Event | None:
    return next((event for event in events if isinstance(event.value, Image)), None)
