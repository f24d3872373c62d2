"""The artifacts in the folder of an export: their versions, their runs, and their files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import msgspec

from aiowandb.errors import ContentError, ExportError
from aiowandb.export.claim import JOURNAL
from aiowandb.export.folders.base import read_errors, require_size_of_state
from aiowandb.export.journal import UsedArtifact
from aiowandb.export.originals import ARTIFACTS_FOLDER, OriginalArtifact, read_artifact
from aiowandb.export.salvage import salvage_text
from aiowandb.files.artifact_uploads import NewEntry
from aiowandb.files.folder import path_inside
from aiowandb.ingest.local_files import local_entry
from aiowandb.ingest.source import SourceArtifact
from aiowandb.symlinks import path_without_links
from aiowandb.trees import entries_of
from aiowandb.wire.manifest import ManifestEntry


class ExportedArtifacts:
    """The artifacts that `runs.export(what=["artifacts"])` has written."""

    def __init__(self, folder: Path) -> None:
        self._described = path_without_links(folder, ARTIFACTS_FOLDER)
        self._files = path_without_links(folder, "artifacts")
        self._by_run: dict[str, list[OriginalArtifact]] = {}
        self._ids: frozenset[str] = frozenset()
        self._journal = path_without_links(folder, JOURNAL)
        self._used: dict[str, Sequence[UsedArtifact]] = {}

    def index(self) -> None:
        """Read the list of artifacts. Blocks."""
        with read_errors(self._described):
            self._index()

    def _index(self) -> None:
        by_run: defaultdict[str, list[OriginalArtifact]] = defaultdict(list)
        for name in sorted(name for name, _ in entries_of(self._described)):
            if not name.endswith(".json"):
                continue
            path = path_without_links(self._described, name)
            try:
                artifact = read_artifact(_state_in(path))
            except (OSError, msgspec.MsgspecError) as error:
                raise ExportError(f"{path} cannot be read: {error}") from error
            # The manifest is read again when it is needed: it may be long.
            by_run[artifact.run].append(msgspec.structs.replace(artifact, entries={}))
        self._by_run = by_run
        by_id = {each.id: each for made in by_run.values() for each in made}
        self._ids = frozenset(by_id)
        journal = _state_in(self._journal) if self._journal.is_file() else b""
        # What is damaged of it is left out: the other runs can be restored.
        for (kind, run), fetched in salvage_text(journal).state.fetched.items():
            if kind != "artifacts":
                continue
            self._used[run] = fetched.used or ()
            if fetched.logged:  # with those that another run has logged, too
                by_run[run] = [by_id[name] for name in fetched.logged if name in by_id]

    def of(self, run: str) -> Sequence[OriginalArtifact]:
        """The versions that a run has logged."""
        return self._by_run.get(run, ())

    def used_by(self, run: str) -> Sequence[UsedArtifact]:
        """The versions that a run has used, which the export need not have."""
        return self._used.get(run, ())

    def source_artifact(self, artifact: OriginalArtifact) -> SourceArtifact:
        """The version, as an artifact of a source."""

        async def entries() -> list[NewEntry]:
            path = path_inside(self._described, f"{artifact.folder}.json")
            known = read_artifact(_state_in(path)).entries
            folder = path_inside(self._files, artifact.folder)
            return [await self._entry(folder, name, entry) for name, entry in known.items()]

        return SourceArtifact(
            key=artifact.id,
            name=artifact.name,
            type=artifact.type,
            version=artifact.version,
            digest=artifact.digest,
            entries=entries,
            aliases=tuple(artifact.aliases),
            tags=tuple(artifact.tags),
            description=artifact.description,
            metadata=artifact.metadata,
            created_at=artifact.created_at,
        )

    async def _entry(self, folder: Path, name: str, entry: ManifestEntry) -> NewEntry:
        is_kept = entry.target is None or entry.target.artifact_id in self._ids
        if entry.ref is not None and is_kept:
            return NewEntry(name, entry.digest, entry.size or 0, None, entry.ref, entry.extra)
        # A file, or a reference to an artifact that is not in the export, with its content.
        found = await local_entry(path_inside(folder, name), name, entry.algorithm)
        if entry.checksum is not None and found.digest != entry.digest:
            raise ContentError(
                f"{folder / name} differs from what was exported: it was changed, or is damaged.",
                name=name,
            )
        return msgspec.structs.replace(found, digest=entry.digest, extra=entry.extra)


def used_source_artifact(used: UsedArtifact) -> SourceArtifact:
    """A version that a run has used, of which only the names are known."""

    async def entries() -> list[NewEntry]:
        raise ExportError(f"The files of {used.name}:v{used.version} are not in the export.")

    return SourceArtifact(
        key=used.id,
        name=used.name,
        type=used.type,
        version=used.version,
        digest=used.digest,
        entries=entries,
    )


def _state_in(path: Path) -> bytes:
    require_size_of_state(path, path.stat().st_size)
    return path.read_bytes()
