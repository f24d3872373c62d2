"""Downloads of an export: the files of runs, and the artifacts that they have logged."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from pathlib import Path

from aiowandb.atomic import is_unfinished
from aiowandb.concurrency.tasks import gather
from aiowandb.concurrency.threads import run_sync
from aiowandb.errors import CommError, DownloadError
from aiowandb.export.folders.hashing import HashingFolder
from aiowandb.export.journal import Fetched, FetchedFile, Journal
from aiowandb.export.late_changes import outdated_later, used_artifacts, write_changes
from aiowandb.export.originals import (
    OriginalArtifact,
    artifact_path,
    described_folder,
    facts_of,
    new_folder,
)
from aiowandb.export.progress import (
    Reporter,
    RowsWanted,
    RunFailed,
    RunFailure,
    RunFinished,
    RunStarted,
)
from aiowandb.export.stored import RunSnapshot
from aiowandb.files.artifact_files import read_manifest
from aiowandb.files.artifact_lists import RunArtifacts
from aiowandb.files.artifacts import download_artifact
from aiowandb.files.fetch import is_there
from aiowandb.files.folder import path_inside
from aiowandb.files.run_files import RunFiles
from aiowandb.files.source import update_files
from aiowandb.net import Session, is_server_down
from aiowandb.paths import RunRef
from aiowandb.wire.artifact_record import ArtifactRecord
from aiowandb.wire.checksum import Checksum
from aiowandb.wire.run_contents import Downloads

_RUNS_AT_ONCE = 4


async def update_downloads(
    session: Session,
    kind: Downloads,
    runs: Mapping[RunRef, RunSnapshot],
    folder: HashingFolder,
    journal: Journal,
    reporter: Reporter,
) -> list[RunFailure]:
    """Download the files or artifacts of the runs into the folder; returns the runs that failed.

    Files that exist are only fetched again if they differ from those at W&B. For runs without a
    heartbeat since the last export whose files all exist, one request for many asks what was
    changed later.
    """
    known = {run: record for (of, run), record in journal.state.fetched.items() if of == kind}
    sizes = await run_sync(_existing_files, folder, kind, bool(known))
    failed: list[RunFailure] = []

    async def fetch(ref: RunRef) -> None:
        reporter.emit(RunStarted(kind, ref.run))
        record = known.get(ref.run)
        downloads = _Downloads(folder, kind, record, sizes)
        try:
            files = await downloads.fetch(session, ref)
            used = await used_artifacts(session, ref) if kind == "artifacts" else None
        except (CommError, DownloadError) as error:
            if isinstance(error, CommError) and await is_server_down(session, error):
                raise
            failed.append(RunFailure(ref.run, error))
            reporter.emit(RunFailed(kind, ref.run, str(error)))
        else:
            record = Fetched(kind, runs[ref], files, used, downloads.logged, downloads.described)
            await run_sync(journal.append, record)
            reporter.emit(RunFinished(kind, ref.run, len(files)))

    current = {
        ref: record
        for ref, run in runs.items()
        if (record := known.get(ref.run)) and is_current(record, run, sizes)
    }
    changed = await outdated_later(session, kind, current, folder, journal)
    for ref in changed:
        del current[ref]
    outdated = [ref for ref in runs if ref not in current]
    reporter.emit(RowsWanted(kind, len(outdated), 0))
    await gather(outdated, fetch, _RUNS_AT_ONCE)
    return failed


def _existing_files(folder: HashingFolder, kind: Downloads, is_known: bool) -> Mapping[str, int]:
    """The sizes of the files that exist. What a killed export has left of others is removed."""
    is_local = isinstance(folder.location(kind), Path)
    # Downloads for an object store are drafts until they are complete.
    found = folder.files(kind, recursive=True) if is_known or is_local else {}
    for name in filter(is_unfinished, found):
        folder.remove(f"{kind}/{name}")
    return found


def is_current(record: Fetched | None, run: RunSnapshot, sizes: Mapping[str, int]) -> bool:
    """Whether the run is unchanged, all files that were downloaded exist, and all is known."""
    if record is None or record.run != run or record.files is None:
        return False
    if record.kind == "artifacts" and record.used is None:
        return False
    return all(sizes.get(file.name) == file.size for file in record.files)


class _Downloads:
    """The files or artifacts of one run.

    On a disk, the content of existing files is checked. In an object store, the checksum that
    W&B gave when the file was downloaded is trusted instead.
    """

    def __init__(
        self,
        folder: HashingFolder,
        kind: Downloads,
        record: Fetched | None,
        sizes: Mapping[str, int],
    ) -> None:
        self._folder = folder
        self._kind: Downloads = kind
        self._record = record
        self._known = {file.name: file for file in (record and record.files) or ()}
        self._by_folder: defaultdict[str, list[FetchedFile]] = defaultdict(list)
        for file in self._known.values():
            self._by_folder[file.name.partition("/")[0]].append(file)
        self._sizes = sizes
        location = folder.location(kind)
        self._is_local = isinstance(location, Path)
        self._root = location if isinstance(location, Path) else folder.draft(kind)
        # The ids of the artifacts that the run has logged.
        self.logged: tuple[str, ...] = ()
        self.described: dict[str, str] = {}
        self._checksums: dict[str, str] = {}
        # The files that were there before, with the content that W&B announces.
        self._present: set[str] = set()

    async def fetch(self, session: Session, ref: RunRef) -> tuple[FetchedFile, ...]:
        """Download files that are missing or differ; returns all files of the run."""
        download = self._run_files if self._kind == "files" else self._artifacts
        found = await download(session, ref)
        return tuple(
            [await run_sync(self._put, each) if isinstance(each, Path) else each for each in found]
        )

    async def _run_files(self, session: Session, ref: RunRef) -> Sequence[Path | FetchedFile]:
        target = await run_sync(path_inside, self._root, ref.run)
        return await update_files(session, RunFiles(session, ref, fresh=True), target, self._has)

    async def _artifacts(self, session: Session, ref: RunRef) -> Sequence[Path | FetchedFile]:
        files: list[Path | FetchedFile] = []
        async with aclosing(RunArtifacts(session, ref, "output", fresh=True).pages()) as pages:
            async for page in pages:
                for artifact in page:
                    facts = facts_of(artifact)
                    name = await run_sync(self._folder_of, artifact)
                    kept = await run_sync(self._kept, artifact, name, facts)
                    self.logged += (artifact.id,)
                    self.described[name] = facts
                    if kept is not None:
                        files += kept
                        continue
                    manifest = await read_manifest(session, artifact.id, artifact.qualified_name)
                    original = OriginalArtifact.of(artifact, manifest, ref.run, name)
                    found = await download_artifact(
                        session,
                        artifact,
                        await run_sync(path_inside, self._root, original.folder),
                        allow_missing_references=True,
                        has=self._has,
                        manifest=manifest,
                    )
                    await run_sync(original.write, self._folder)
                    files += found.files
        return files

    def _folder_of(self, artifact: ArtifactRecord) -> str:
        """Where the version is, or where it can be without touching the files of another one."""
        record = self._record
        is_known = record is not None and artifact.id in (record.logged or ())
        known = described_folder(artifact, record.described or {}) if record and is_known else None
        return known or new_folder(artifact, self._folder)

    def _kept(self, artifact: ArtifactRecord, name: str, facts: str) -> list[FetchedFile] | None:
        """The files of a version that was downloaded before, if all of them are there.

        A version never changes, but for what people write about it, which is written here if it
        differs from these facts.
        """
        record = self._record
        if record is None or artifact.id not in (record.logged or ()):
            return None
        before = (record.described or {}).get(name)
        files = self._by_folder.get(name, [])
        is_there = all(self._sizes.get(file.name) == file.size for file in files)
        if before is None or not is_there:
            return None
        is_known = before == facts and self._folder.size(artifact_path(name))
        return files if is_known or write_changes(artifact, name, self._folder) else None

    def _has(self, path: Path, size: int | None, checksum: Checksum | None) -> bool:
        name = self._name(path)
        self._checksums[name] = checksum.text if checksum else ""
        if self._is_local:
            if is_there(path, size, checksum):
                self._present.add(name)
                return True
            return False
        known = self._known.get(name)
        if known is None or checksum is None:
            return False
        return known.md5 == checksum.text and known.size == self._sizes.get(name)

    def _put(self, path: Path) -> FetchedFile:
        """Upload the file if it was fetched and the folder is in an object store."""
        name = self._name(path)
        if not self._is_local and not path.exists():
            return self._known[name]
        file = FetchedFile(name, path.stat().st_size, self._checksums.get(name, ""))
        if not self._is_local:
            self._folder.put(path, f"{self._kind}/{name}")
        elif name not in self._present:
            self._folder.add(f"{self._kind}/{name}")
        return file

    def _name(self, path: Path) -> str:
        return path.relative_to(self._root).as_posix()
