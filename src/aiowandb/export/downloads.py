"""What runs have beside their rows: their files, and the artifacts that they have logged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Literal

from aiowandb.concurrency.tasks import gather
from aiowandb.concurrency.threads import run_sync
from aiowandb.errors import CommError, DownloadError
from aiowandb.export.folders.base import Folder
from aiowandb.export.journal import Fetched, FetchedFile, Journal
from aiowandb.export.progress import (
    Reporter,
    RowsWanted,
    RunFailed,
    RunFailure,
    RunFinished,
    RunStarted,
)
from aiowandb.export.stored import RunSnapshot
from aiowandb.files.artifact_lists import RunArtifacts
from aiowandb.files.artifacts import download_artifact
from aiowandb.files.fetch import IsThere, is_there
from aiowandb.files.folder import path_inside
from aiowandb.files.run_files import RunFiles
from aiowandb.files.source import update_files
from aiowandb.net import Session, is_server_down
from aiowandb.paths import RunRef

Kind = Literal["files", "artifacts"]

_RUNS_AT_ONCE = 4


async def update_downloads(
    session: Session,
    kind: Kind,
    runs: Mapping[RunRef, RunSnapshot],
    folder: Folder,
    journal: Journal,
    reporter: Reporter,
) -> list[RunFailure]:
    """Have the files or artifacts of the runs in the folder; give the runs that failed.

    Of files that are there, only those are fetched that W&B has otherwise. A run that has
    given no sign of life since, and whose files are all there, is not asked about again.
    """
    known = {run: record for (of, run), record in journal.state.fetched.items() if of == kind}
    sizes = await run_sync(partial(folder.files, kind, recursive=True)) if known else {}
    failed: list[RunFailure] = []

    async def fetch(ref: RunRef) -> None:
        reporter.emit(RunStarted(kind, ref.run))
        record = known.get(ref.run)
        downloads = _Downloads(folder, kind, record.files if record else None, sizes)
        try:
            files = await downloads.fetch(session, ref)
        except (CommError, DownloadError) as error:
            if isinstance(error, CommError) and await is_server_down(session, error):
                raise
            failed.append(RunFailure(ref.run, error))
            reporter.emit(RunFailed(kind, ref.run, str(error)))
        else:
            await run_sync(journal.append, Fetched(kind, runs[ref], files))
            reporter.emit(RunFinished(kind, ref.run, len(files)))

    news = [ref for ref, run in runs.items() if not _is_current(known.get(ref.run), run, sizes)]
    reporter.emit(RowsWanted(kind, len(news), 0))
    await gather(news, fetch, _RUNS_AT_ONCE)
    return failed


def _is_current(record: Fetched | None, run: RunSnapshot, sizes: Mapping[str, int]) -> bool:
    """Whether there is nothing new of the run, and all is there that was brought."""
    if record is None or record.run != run or record.files is None:
        return False
    return all(sizes.get(file.name) == file.size for file in record.files)


class _Downloads:
    """The files or artifacts of one run, where they lie and as we know them.

    In an object store, what W&B said of a file when it was brought has to stand for its
    content, which on a disk can be looked at.
    """

    def __init__(
        self,
        folder: Folder,
        kind: Kind,
        known: Sequence[FetchedFile] | None,
        sizes: Mapping[str, int],
    ) -> None:
        self._folder = folder
        self._kind: Kind = kind
        self._known = {file.name: file for file in known or ()}
        self._sizes = sizes
        location = folder.location(kind)
        self._is_local = isinstance(location, Path)
        self._root = location if isinstance(location, Path) else folder.draft(kind)
        self._said: dict[str, str] = {}

    async def fetch(self, session: Session, ref: RunRef) -> tuple[FetchedFile, ...]:
        """Bring what is not there as it is at W&B; give all that is there then."""
        bring = _files if self._kind == "files" else _artifacts
        paths = await bring(session, ref, self._root, self._has)
        return tuple([await run_sync(self._put, path) for path in paths])

    def _has(self, path: Path, size: int | None, md5: bytes | None) -> bool:
        name = self._name(path)
        self._said[name] = md5.hex() if md5 else ""
        if self._is_local:
            return is_there(path, size, md5)
        known = self._known.get(name)
        if known is None or md5 is None:
            return False
        return known.md5 == md5.hex() and known.size == self._sizes.get(name)

    def _put(self, path: Path) -> FetchedFile:
        """Put the file in its place, if it was fetched and does not lie there yet."""
        name = self._name(path)
        if not self._is_local and not path.exists():
            return self._known[name]
        file = FetchedFile(name, path.stat().st_size, self._said.get(name, ""))
        if not self._is_local:
            self._folder.put(path, f"{self._kind}/{name}")
        return file

    def _name(self, path: Path) -> str:
        return path.relative_to(self._root).as_posix()


async def _files(session: Session, ref: RunRef, folder: Path, has: IsThere) -> list[Path]:
    place = await run_sync(path_inside, folder, ref.run)
    return await update_files(session, RunFiles(session, ref), place, has)


async def _artifacts(session: Session, ref: RunRef, folder: Path, has: IsThere) -> list[Path]:
    files: list[Path] = []
    async with aclosing(RunArtifacts(session, ref, "output").pages()) as pages:
        async for page in pages:
            for artifact in page:
                place = await run_sync(path_inside, folder, artifact.source.collection)
                place = place.with_name(f"{place.name}-{artifact.source.version}")
                found = await download_artifact(
                    session, artifact, place, allow_missing_references=True, has=has
                )
                files += found.files
    return files
