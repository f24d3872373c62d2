"""What the folder of an export should have: read from its manifest and its journal. Blocks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from aiowandb.errors import ExportError
from aiowandb.export.claim import JOURNAL
from aiowandb.export.folders.base import STATE_DIR, Folder
from aiowandb.export.journal import ExportIdentity, ExportState
from aiowandb.export.known_files import KnownFile, known_files
from aiowandb.export.manifest import (
    JOURNAL_COPY,
    MANIFEST,
    DamagedManifestError,
    FileDigest,
    journal_sha256,
    read_manifest,
    sealed_journal,
)
from aiowandb.export.originals import ARTIFACTS_FOLDER
from aiowandb.export.runs_table import RUNS_FILE
from aiowandb.export.salvage import Salvaged, salvage_copy, salvage_journal
from aiowandb.export.staging import STAGED
from aiowandb.verification.files import FileToCheck
from aiowandb.verification.report import Problem

_OLD = (
    "The export has no manifest: it was made by an earlier version, or never ended. Files are"
    " compared with the journal, which has no checksums of tables. Export again to add a manifest."
)
_NEVER_ENDED = (
    "it is not there: the export has not ended, or it was lost with the copy of the journal."
    " Export again."
)
_OTHER_BYTES = (
    "it is not as the last complete export left it, though it says the same: an export was"
    " interrupted, or the journal was changed. Export again."
)


class Contents(msgspec.Struct, kw_only=True):
    """What should be in the folder, and the problems that showed while that was read."""

    state: ExportState
    manifest: dict[str, FileDigest]
    known: dict[str, KnownFile]
    problems: list[Problem] = []
    notes: list[str] = []

    @property
    def identity(self) -> ExportIdentity | None:
        return self.state.begun.identity if self.state.begun else None

    @property
    def names(self) -> set[str]:
        """All files that belong to the export."""
        return self.manifest.keys() | self.known.keys()

    @property
    def runs_file(self) -> str | None:
        """The table of runs in Parquet, or None if there is none."""
        names = ("runs.parquet", f"{STATE_DIR}/{RUNS_FILE}")
        return next((name for name in names if name in self.names), None)

    def files(self) -> Iterator[FileToCheck]:
        """All files, with what is known of them."""
        owners = self._owners()
        for name in sorted(self.names):
            kind, _, rest = name.removesuffix(".json").rpartition("/")
            owner = owners.get(rest) if kind == ARTIFACTS_FOLDER else None
            if owner is None and name.startswith("files/"):
                owner = name.split("/")[1]
            yield FileToCheck(name, self.manifest.get(name), self.known.get(name), owner)

    def _owners(self) -> Mapping[str, str]:
        """The runs that have logged the artifacts, by the names of their folders."""
        return {
            file.name.split("/")[0]: run
            for (kind, run), fetched in self.state.fetched.items()
            if kind == "artifacts"
            for file in fetched.files or ()
        }


def read_contents(folder: Folder) -> Contents:
    """What the folder should have."""
    problems: list[Problem] = []
    notes: list[str] = []
    journal, copy = salvage_journal(folder, JOURNAL), salvage_copy(folder)
    manifest = _manifest(folder, journal, problems, notes)
    if not journal.is_there and copy is None and manifest is None:
        raise ExportError(f"{folder} has no export: there is no {JOURNAL}.")
    sealed = sealed_journal(folder) if manifest is not None else ""
    is_sealed = not sealed or sealed == journal_sha256(folder, JOURNAL)
    problems += _journal_problems(journal, copy, is_sealed=is_sealed)
    state = copy.state if copy and _is_copy_better(journal, copy) else journal.state
    found = contents_of(folder, state, manifest or {})
    found.problems += problems
    found.notes += notes
    return found


def contents_of(folder: Folder, state: ExportState, manifest: dict[str, FileDigest]) -> Contents:
    """What the folder should have by this state and this manifest."""
    staged = frozenset(f"{STAGED}/{name}" for name in folder.files(STAGED))
    known = {file.name: file for file in known_files(state, staged)}
    return Contents(state=state, manifest=manifest, known=known)


def _manifest(
    folder: Folder, journal: Salvaged, problems: list[Problem], notes: list[str]
) -> dict[str, FileDigest] | None:
    try:
        manifest = read_manifest(folder)
    except DamagedManifestError:
        text = "it was changed, or is damaged: files are compared with the journal only."
        problems.append(Problem("state", MANIFEST, text))
        return None
    if manifest is None:
        begun = journal.state.begun
        if folder.size(JOURNAL_COPY) is not None:
            problems.append(Problem("lost", MANIFEST, "it is not there."))
        elif begun and begun.sealed:
            problems.append(Problem("lost", MANIFEST, _NEVER_ENDED))
        else:
            notes.append(_OLD)
    return manifest


def _journal_problems(
    journal: Salvaged, copy: Salvaged | None, *, is_sealed: bool
) -> list[Problem]:
    if not journal.is_there:
        return [Problem("lost", JOURNAL, "it is not there. Export with repair to make it again.")]
    if journal.errors:
        first = journal.errors[0]
        more = f", and so on ({len(journal.errors):,} lines)" if len(journal.errors) > 1 else ""
        text = f"{first}{more}. Export with repair to make it again."
        return [Problem("state", JOURNAL, text)]
    if copy is None:
        return []
    if copy.text == journal.text:
        return [] if is_sealed else [Problem("state", JOURNAL, _OTHER_BYTES)]
    here, there = journal.state.begun, copy.state.begun
    if here and there and here.identity != there.identity:
        text = (
            f"it is of another export, of {here.identity.host}/{here.identity.project}, and not"
            f" of {there.identity.host}/{there.identity.project}."
        )
        return [Problem("state", JOURNAL, text)]
    text = (
        "it differs from the copy that the last complete export made: an export was interrupted,"
        " or the journal was changed or cut off. Export again, with repair if that fails."
    )
    return [Problem("state", JOURNAL, text)]


def _is_copy_better(journal: Salvaged, copy: Salvaged) -> bool:
    begun, other = journal.state.begun, copy.state.begun
    if journal.errors or begun is None or other is None:
        return True
    return begun.identity != other.identity
