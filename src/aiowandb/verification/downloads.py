"""Compares the downloaded files and artifacts of a run with those at W&B."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import aclosing

import msgspec

from aiowandb.errors import ExportError
from aiowandb.export.folders.base import Folder
from aiowandb.export.journal import ExportState, FetchedFile, UsedArtifact
from aiowandb.export.late_changes import has_all_used, lacking_files, logged_artifacts
from aiowandb.export.manifest import read_whole
from aiowandb.export.originals import ARTIFACTS_FOLDER, OriginalArtifact, read_artifact
from aiowandb.files.run_files import RunFiles
from aiowandb.net import Session
from aiowandb.paths import RunRef
from aiowandb.wire.run_contents import RunContents

_NAMED = 3


class ExportedDownloads(msgspec.Struct, kw_only=True):
    """The files and artifacts that the export has, by the ids of runs."""

    files: Mapping[str, Mapping[str, FetchedFile]]
    # Those of which all were downloaded.
    with_artifacts: frozenset[str]
    # By their ids: several runs may have logged the same version.
    artifacts: Mapping[str, OriginalArtifact]
    used: Mapping[str, Sequence[UsedArtifact]]

    @classmethod
    def read(cls, folder: Folder, state: ExportState) -> ExportedDownloads:
        """Read it from the folder. Blocks."""
        logged = {run: each for (kind, run), each in state.fetched.items() if kind == "artifacts"}
        return cls(
            files={
                run: {file.name: file for file in fetched.files or ()}
                for (kind, run), fetched in state.fetched.items()
                if kind == "files"
            },
            with_artifacts=frozenset(logged),
            artifacts=_artifacts(folder),
            used={run: each.used for run, each in logged.items() if each.used is not None},
        )

    async def lacking_files(
        self, session: Session, ref: RunRef, contents: RunContents
    ) -> list[str]:
        """What the export lacks of the files of a run."""
        known = self.files.get(ref.run)
        if known is None:
            count = contents.file_count
            return [f"files: none of {count:,} files."] if count else []
        first = contents.files
        if first is not None and not first.page_info.has_next_page:
            return [f"files: {text}" for text in lacking_files(ref.run, first.nodes, known)]
        async with aclosing(RunFiles(session, ref, fresh=True).pages()) as pages:
            return [
                f"files: {text}"
                async for files in pages
                for text in lacking_files(ref.run, files, known)
            ]

    async def lacking_artifacts(
        self, session: Session, ref: RunRef, contents: RunContents
    ) -> list[str]:
        """What the export lacks of the artifacts of a run, and of what W&B says of them."""
        made = contents.output_artifacts
        total = (made.total_count or len(made.nodes)) if made else 0
        if ref.run not in self.with_artifacts:
            return [f"artifacts: none of {total:,} artifacts."] if total else []
        found: list[str] = []
        known = self.artifacts
        there = {each.id: each for each in await logged_artifacts(session, ref, contents)}
        if missing := there.keys() - known.keys():
            found.append(f"artifacts: {len(there) - len(missing):,} of {len(there):,} artifacts.")
        changed = [
            f"{known[one].folder} has other {' and '.join(unlike)} at W&B."
            for one in there
            if one in known and (unlike := known[one].differences(there[one]))
        ]
        found += [f"artifacts: {text}" for text in changed[:_NAMED]]
        if rest := changed[_NAMED:]:
            found.append(f"artifacts: the same applies to {len(rest):,} more.")
        used = self.used.get(ref.run)
        if used is not None and not has_all_used(contents, used):
            found.append("artifacts: the run has used others since.")
        return found


def _artifacts(folder: Folder) -> Mapping[str, OriginalArtifact]:
    found: dict[str, OriginalArtifact] = {}
    for name in folder.files(ARTIFACTS_FOLDER):
        try:
            artifact = read_artifact(read_whole(folder, f"{ARTIFACTS_FOLDER}/{name}") or b"")
        except (ExportError, msgspec.MsgspecError):
            continue  # reported as a file that has changed, or cannot be read
        # The entries of thousands of artifacts would take much memory.
        found[artifact.id] = msgspec.structs.replace(artifact, entries={})
    return found
