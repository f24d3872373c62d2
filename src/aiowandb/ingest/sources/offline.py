"""The `.wandb` files of wandb as a source, of offline runs and others."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, TypeVar

from aiowandb.concurrency.threads import run_sync
from aiowandb.errors import UsageError
from aiowandb.history.columns import rows_to_batch
from aiowandb.ingest.facts import dotted_keys
from aiowandb.ingest.local_files import (
    broken_links_below,
    files_below,
    local_file,
    require_file_or_folder,
)
from aiowandb.ingest.source import Source, SourceArtifact, SourceFile, SourceRun
from aiowandb.ingest.sources.offline_artifacts import artifact_of
from aiowandb.ingest.sources.offline_records import (
    ConsoleSplitter,
    RecordKind,
    metrics_line,
    rendered,
    rows_in,
    step_of,
)
from aiowandb.ingest.sources.offline_run import LoggedRun, scan
from aiowandb.ingest.sources.protobuf import Message
from aiowandb.wire import lenient
from aiowandb.wire.console import ConsoleLogLine

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")
_logger = logging.getLogger(__name__)

SUFFIX = ".wandb"
_AT_ONCE = 2_000


class OfflineSource(Source):
    """The runs in a `.wandb` file, in the folder of a run, or in a folder `wandb` with many.

    Several files with the same run id, as of a run that was resumed, are one run.
    """

    name = "wandb's files"

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)

    async def runs(self) -> AsyncGenerator[SourceRun]:
        logs = await run_sync(logs_in, self._path)
        if not logs:
            raise UsageError(f"{self._path} has no {SUFFIX} file of a run.")
        by_run: defaultdict[str, list[Path]] = defaultdict(list)
        for path in logs:
            by_run[path.stem.removeprefix("run-")].append(path)
        for run, paths in by_run.items():
            yield await run_sync(_open, run, paths)

    def identity(self, run: SourceRun) -> str:
        # Independent of the path: id and time identify the run.
        created = run.facts.created_at
        return f"{self.name}/{run.facts.id} of {created.isoformat() if created else 'any time'}"


def logs_in(path: Path) -> list[Path]:
    """The logs at this path, the oldest first. Blocks."""
    require_file_or_folder(path)
    if path.is_file():
        return [path]
    found = {
        log.resolve(): log  # latest-run is a link to one of the others
        for pattern in (f"*{SUFFIX}", f"*run-*/*{SUFFIX}", f"wandb/*run-*/*{SUFFIX}")
        for log in sorted(path.glob(pattern))
        if log.is_file()
    }
    return list(found)


class OfflineRun(SourceRun):
    """A run in `.wandb` files."""

    def __init__(self, run: LoggedRun, stamp: str, files: dict[str, Path]) -> None:
        super().__init__(run.facts, stamp)
        self.dropped = tuple(run.dropped)
        self.literal_keys = dotted_keys(run.facts.summary)
        self.has_artifacts = bool(run.artifacts)
        self._run = run
        self._files = files

    def estimate(self, stored: int) -> dict[str, int]:
        rows = max(0, self._run.rows - stored)
        size = sum(path.stat().st_size for path in self._run.paths)
        return {
            "rows": rows,
            "files": len(self._files),
            "bytes": size,
            "requests": 6 + rows // 5000,
        }

    async def lines(self) -> AsyncGenerator[Sequence[str]]:
        async for lines in in_threads(self._lines()):
            yield lines

    async def rows(self) -> AsyncGenerator[pa.RecordBatch]:
        async for lines in in_threads(self._lines()):
            yield rows_to_batch([lenient.loads_object(line) for line in lines])

    async def system_metrics(self) -> AsyncGenerator[Sequence[str]]:
        started = self._run.started

        def lines(kind: RecordKind, record: Message) -> Sequence[str]:
            return [metrics_line(record, started)] if kind is RecordKind.STATS else []

        async for some in in_threads(self._run.read(lines)):
            yield some

    async def console(self) -> AsyncGenerator[Sequence[ConsoleLogLine]]:
        async for lines in in_threads(self._console()):
            yield lines

    async def files(self) -> AsyncGenerator[SourceFile]:
        for name, content in self._run.made_files().items():
            if name not in self._files:
                yield content
        for name, path in self._files.items():
            yield await local_file(path, name)

    async def artifacts(self) -> AsyncGenerator[SourceArtifact]:
        for number, record in enumerate(self._run.artifacts):
            yield artifact_of(record, self._run, number)

    def _lines(self) -> Iterator[str]:
        last = -1
        for row in self._run.read(rows_in):
            step = step_of(row)
            if step > last:
                last = step
                yield rendered(row)

    def _console(self) -> Iterator[ConsoleLogLine]:
        console = ConsoleSplitter()

        def lines(kind: RecordKind, record: Message) -> Iterable[ConsoleLogLine]:
            is_output = kind in (RecordKind.OUTPUT, RecordKind.OUTPUT_RAW)
            return console.add(record) if is_output else ()

        yield from self._run.read(lines)
        yield from console.end()


async def in_threads(items: Iterator[T]) -> AsyncGenerator[list[T]]:
    """The items in lists, made in threads."""

    def some() -> list[T]:
        return [item for _, item in zip(range(_AT_ONCE), items, strict=False)]

    while found := await run_sync(some):
        yield found


def _open(run: str, paths: Sequence[Path]) -> OfflineRun:
    found = scan(run, paths)
    folders = [log.parent / "files" for log in paths]
    files = {
        path.relative_to(folder).as_posix(): path
        for folder in folders
        for path in files_below(folder)
    }
    files |= _behind_links(folders, found.saved - files.keys())
    _warn_of_links(run, [log.parent for log in paths], files.values())
    gone = {name for folder in folders for name in broken_links_below(folder)} - files.keys()
    found.dropped += [f"file {name}, which was deleted since it was saved" for name in sorted(gone)]
    sizes = [(name, path.stat().st_size, path.stat().st_mtime_ns) for name, path in files.items()]
    logs = [path.stat().st_size for path in paths]
    return OfflineRun(found, found.facts.stamp(logs, sizes), files)


def _warn_of_links(run: str, folders: Sequence[Path], files: Iterable[Path]) -> None:
    """Name a file elsewhere that is uploaded: who has made the log may have made the link to it."""
    homes = [folder.resolve() for folder in folders]
    for path in files:
        if path.resolve() != path.absolute() and not any(
            path.resolve().is_relative_to(home) for home in homes
        ):
            _logger.warning(
                "Run %s has files that are links, such as %s to %s: what they lead to is uploaded,"
                " as by wandb itself.",
                *(run, path, path.resolve()),
            )
            return


def _behind_links(folders: Sequence[Path], saved: Iterable[str]) -> dict[str, Path]:
    """The saved files that are in linked folders: `run.save` makes links also to folders."""
    return {
        name: folder / name
        for folder in folders
        for name in sorted(saved)
        if ".." not in PurePath(name).parts
        and not PurePath(name).is_absolute()
        and _is_file(folder / name)
    }


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # the name is too long
        return False
