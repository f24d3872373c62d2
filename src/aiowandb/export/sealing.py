"""The end of an export: its manifest, and a copy of the state in its journal.

Files that this export has put were hashed then. Of others the digests in the last manifest still
hold: to hash them again would make damages official. Only what is in no manifest, as in folders
of earlier versions, is hashed now.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from io import BytesIO
from typing import Never

from aiowandb.concurrency.threads import Inbox
from aiowandb.export.claim import JOURNAL
from aiowandb.export.folders.base import STATE_DIR, Folder
from aiowandb.export.folders.hashing import HashingFolder
from aiowandb.export.journal import ExportState, Journal, record_lines
from aiowandb.export.known_files import KnownFile, known_files
from aiowandb.export.manifest import (
    JOURNAL_COPY,
    MANIFEST,
    SEAL,
    DamagedManifestError,
    FileDigest,
    digest_of,
    journal_sha256,
    put_text,
    read_manifest,
    read_whole,
    write_manifest,
)
from aiowandb.export.names import DELTA_LOG, PLAIN_TABLES, all_datasets
from aiowandb.export.originals import ARTIFACTS_FOLDER
from aiowandb.export.salvage import salvage_copy
from aiowandb.export.staging import STAGED
from aiowandb.wire.checksum import Checksum, new_hasher

_TEMPORARY = (f"{STAGED}/", f"{STATE_DIR}/uploads/", f"{STATE_DIR}/drafts/")
_logger = logging.getLogger(__name__)


def seal_folder(folder: HashingFolder, journal: Journal, inbox: Inbox[Never]) -> None:
    """Write the manifest and the copy of the journal's state, unless they are there already."""
    before = _manifest_before(folder)
    files = _still_valid(before or {}, folder, journal.state)
    new = _names(folder, journal.state, is_first=before is None).difference(files)
    known = {file.name: file for file in known_files(journal.state)} if new else {}
    for name in inbox.checked(sorted(new)):
        digest = folder.digests.get(name) or _hashed(folder, name, known.get(name))
        if digest:
            files[name] = digest
    copy = record_lines(journal.state.records())
    files[JOURNAL_COPY] = digest_of(BytesIO(copy))
    if copy != read_whole(folder, JOURNAL_COPY):
        put_text(folder, JOURNAL_COPY, copy)
    failed = len(journal.state.failed_runs)
    write_manifest(folder, files, failed, journal_sha256(folder, JOURNAL))


def _manifest_before(folder: Folder) -> dict[str, FileDigest] | None:
    try:
        return read_manifest(folder)
    except DamagedManifestError as error:
        _logger.warning("%s All files of the export are hashed again.", error)
        return None


def _still_valid(
    before: Mapping[str, FileDigest], folder: HashingFolder, state: ExportState
) -> dict[str, FileDigest]:
    """The digests of the last manifest for files that no export has written since."""
    copy = salvage_copy(folder) if before else None
    then = {file.name: file.revision for file in known_files(copy.state)} if copy else {}
    # A killed export may have written files, and has made no manifest.
    rewritten = {
        file.name for file in known_files(state) if then.get(file.name, file) != file.revision
    }
    if copy is None:  # lost or damaged: what was written since the last manifest is not known
        rewritten = set()
    kept = {
        name: digest
        for name, digest in before.items()
        if name not in folder.digests and name not in rewritten and not folder.is_gone(name)
    }
    return _without_vacuumed(kept, folder, state)


def _without_vacuumed(
    files: dict[str, FileDigest], folder: Folder, state: ExportState
) -> dict[str, FileDigest]:
    """The same without files that Delta Lake has removed, because no version needs them."""
    if state.begun is None or state.begun.options.format != "delta":
        return files
    needed = {file.name for file in known_files(state)}
    there = set(_delta_files(folder, state))
    tables = tuple(f"{name}/" for name in _delta_tables(folder, state))
    return {
        name: digest
        for name, digest in files.items()
        if name in needed or name in there or not name.startswith(tables)
    }


def _names(folder: HashingFolder, state: ExportState, *, is_first: bool) -> set[str]:
    """The files that belong into the manifest, as far as they are not of an earlier one."""
    names = {name for name in folder.digests if not name.startswith(_TEMPORARY)}
    names -= {MANIFEST, SEAL, JOURNAL_COPY}
    names.update(file.name for file in known_files(state))
    if state.begun and state.begun.options.format == "delta":
        names.update(_delta_files(folder, state))
    if is_first:
        described = folder.files(ARTIFACTS_FOLDER)
        names.update(f"{ARTIFACTS_FOLDER}/{name}" for name in described)
    return names


def _delta_tables(folder: Folder, state: ExportState) -> list[str]:
    return [*PLAIN_TABLES, *all_datasets(folder, state.datasets)]


def _delta_files(folder: Folder, state: ExportState) -> list[str]:
    return [
        f"{table}/{name}"
        for table in _delta_tables(folder, state)
        for name in folder.files(table, recursive=True)
        if name.endswith(".parquet") or name.startswith(f"{DELTA_LOG}/")
    ]


def _hashed(folder: Folder, name: str, known: KnownFile | None) -> FileDigest | None:
    """The digest of a file; None if it is lost, or not what was downloaded."""
    checksum = Checksum.parse(known.checksum) if known else None
    hasher = new_hasher(checksum.algorithm) if checksum else None
    try:
        with folder.open(name) as file:
            digest = digest_of(file, *([hasher] if hasher else ()))
    except FileNotFoundError:
        return None
    if checksum and hasher and hasher.digest() != checksum.digest:
        _logger.warning("%s is not the file that was downloaded.", folder.location(name))
        return None
    return digest
