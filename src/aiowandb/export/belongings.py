"""What runs have beside their rows: their files, and the artifacts that they have logged."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Literal

from aiowandb.errors import CommError, DownloadError
from aiowandb.export.events import RunFailed, RunFinished, RunStarted
from aiowandb.export.folders.base import Folder
from aiowandb.export.journal import Fetched, Journal
from aiowandb.export.progress import Reporter
from aiowandb.export.result import RunFailure
from aiowandb.export.stored import RunSnapshot
from aiowandb.files.artifact_lists import RunArtifacts
from aiowandb.files.artifacts import download_artifact
from aiowandb.files.folder import inside
from aiowandb.files.run_files import RunFiles
from aiowandb.files.source import update_files
from aiowandb.net import Session, is_everybodys
from aiowandb.paths import RunRef
from aiowandb.tasks import gather
from aiowandb.threads import run_sync

Kind = Literal["files", "artifacts"]
# Brings what one run has into a folder of this machine, and says where it is.
Bring = Callable[[RunRef, Path], Awaitable[list[Path]]]

_RUNS_AT_ONCE = 4


async def fetch_belongings(
    session: Session,
    kind: Kind,
    runs: Mapping[RunRef, RunSnapshot],
    folder: Folder,
    journal: Journal,
    reporter: Reporter,
) -> list[RunFailure]:
    """Have the files or artifacts of the runs in the folder; give the runs that failed.

    Of files that are there, only those are fetched that W&B has otherwise. A run that has
    given no sign of life since is not asked about again.
    """
    known = {
        record.run.run: record.run
        for record in journal.records
        if isinstance(record, Fetched) and record.kind == kind
    }
    bring = partial(_files if kind == "files" else _artifacts, session)
    failed: list[RunFailure] = []

    async def fetch(ref: RunRef) -> None:
        reporter.emit(RunStarted(kind, ref.run))
        try:
            count = await _into(folder, kind, partial(bring, ref))
        except (CommError, DownloadError) as error:
            if isinstance(error, CommError) and await is_everybodys(session, error):
                raise
            failed.append(RunFailure(ref.run, error))
            reporter.emit(RunFailed(kind, ref.run, str(error)))
        else:
            await run_sync(journal.append, Fetched(kind, runs[ref]))
            reporter.emit(RunFinished(kind, ref.run, count))

    news = [ref for ref, listed in runs.items() if known.get(ref.run) != listed]
    await gather(news, fetch, _RUNS_AT_ONCE)
    return failed


async def _into(folder: Folder, name: str, bring: Callable[[Path], Awaitable[list[Path]]]) -> int:
    """Bring files into a folder within the folder, wherever that is; say how many they are."""
    place = folder.location(name)
    if isinstance(place, Path):
        return len(await bring(place))
    drafts = folder.draft(name)
    files = await bring(drafts)
    for file in files:
        await run_sync(folder.put, file, f"{name}/{file.relative_to(drafts).as_posix()}")
    return len(files)


async def _files(session: Session, ref: RunRef, folder: Path) -> list[Path]:
    place = await run_sync(inside, folder, ref.run)
    return await update_files(session, RunFiles(session, ref), place)


async def _artifacts(session: Session, ref: RunRef, folder: Path) -> list[Path]:
    files: list[Path] = []
    async with aclosing(RunArtifacts(session, ref, "output").pages()) as pages:
        async for page in pages:
            for artifact in page:
                place = await run_sync(inside, folder, artifact.source.collection)
                place = place.with_name(f"{place.name}-{artifact.source.version}")
                found = await download_artifact(
                    session, artifact, place, allow_missing_references=True
                )
                files += found.files
    return files
