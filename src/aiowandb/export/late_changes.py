"""What people change of a run that has ended: no heartbeat tells of files that are uploaded then,
of new aliases or descriptions of its artifacts, or of another run's use of them.

Runs are asked for many at a time. What W&B says of an artifact is written again at once; runs with
something to download are left to the caller.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing
from pathlib import PurePosixPath

import msgspec

from aiowandb.concurrency.threads import run_sync
from aiowandb.errors import CommError
from aiowandb.export.folders.base import Folder
from aiowandb.export.journal import Fetched, FetchedFile, Journal, UsedArtifact
from aiowandb.export.manifest import read_whole
from aiowandb.export.originals import (
    artifact_path,
    described_folder,
    facts_of,
    folders_of,
    read_artifact,
)
from aiowandb.files.artifact_lists import RunArtifacts
from aiowandb.net import BatchSize, Session, ask_batched
from aiowandb.paths import RunRef
from aiowandb.wire.artifact_record import ArtifactRecord, number_of
from aiowandb.wire.checksum import Checksum
from aiowandb.wire.files import FileRecord
from aiowandb.wire.run_contents import Downloads, RunContents, contents_at, run_contents

RUNS_ASKED_AT_ONCE = 100


async def outdated_later(
    session: Session,
    kind: Downloads,
    records: Mapping[RunRef, Fetched],
    folder: Folder,
    journal: Journal,
) -> list[RunRef]:
    """The runs whose files or artifacts must be fetched again, of those with these records."""
    found: list[RunRef] = []
    refs, size = list(records), BatchSize(RUNS_ASKED_AT_ONCE, RUNS_ASKED_AT_ONCE)
    for start in range(0, len(refs), RUNS_ASKED_AT_ONCE):
        some = refs[start : start + RUNS_ASKED_AT_ONCE]
        answers = await ask_batched(
            session, some, lambda batch: run_contents(batch, [kind]), contents_at, size
        )
        for ref, answer in zip(some, answers, strict=True):
            if answer is None:
                continue  # it was deleted meanwhile
            is_current = not isinstance(answer, CommError) and (
                _has_all_files(ref.run, answer, records[ref].files or ())
                if kind == "files"
                else await _describe_again(session, ref, answer, records[ref], folder, journal)
            )
            if not is_current:
                found.append(ref)
    return found


def lacking_files(
    run: str, files: Sequence[FileRecord], known: Mapping[str, FetchedFile]
) -> Iterator[str]:
    """What an export with the `known` files lacks of these."""
    for file in files:
        have = known.get(PurePosixPath(run, file.name).as_posix())
        checksum = Checksum.of(file.md5)
        if have is None:
            yield f"{file.name} is not there."
        elif checksum and have.md5 and checksum.text != have.md5:
            yield f"{file.name} has another content at W&B."
        elif file.size and file.size != have.size:
            yield f"{file.name} has {have.size:,} bytes, and {file.size:,} at W&B."


async def logged_artifacts(
    session: Session, ref: RunRef, contents: RunContents
) -> list[ArtifactRecord]:
    """All artifacts that the run has logged; a request is sent if only the first ones are known."""
    made = contents.output_artifacts
    if made is None:
        return []
    if (made.total_count or 0) <= len(made.nodes):
        return [node.record() for node in made.nodes]
    async with aclosing(RunArtifacts(session, ref, "output", fresh=True).pages()) as pages:
        return [artifact async for page in pages for artifact in page]


async def used_artifacts(session: Session, ref: RunRef) -> tuple[UsedArtifact, ...]:
    """What the run has used: only its names, from which `restore` links the run again."""
    async with aclosing(RunArtifacts(session, ref, "input", fresh=True).pages()) as pages:
        return tuple(
            [
                UsedArtifact(
                    artifact.id,
                    artifact.source.collection,
                    number_of(artifact),
                    artifact.type,
                    artifact.digest,
                )
                async for page in pages
                for artifact in page
            ]
        )


def has_all_used(contents: RunContents, known: Sequence[UsedArtifact]) -> bool:
    """Whether all artifacts that the run has used are known."""
    used = contents.input_artifacts
    if used is None:
        return True
    ids = {artifact.id for artifact in known}
    return all(node.id in ids for node in used.nodes) and (used.total_count or 0) <= len(ids)


def _has_all_files(run: str, contents: RunContents, known: Sequence[FetchedFile]) -> bool:
    """Whether the known files have the first ones, and are as many as there are."""
    first = contents.files
    if first is None:
        return True
    if any(lacking_files(run, first.nodes, {file.name: file for file in known})):
        return False
    return not first.page_info.has_next_page or (contents.file_count or 0) <= len(known)


async def _describe_again(
    session: Session,
    ref: RunRef,
    contents: RunContents,
    record: Fetched,
    folder: Folder,
    journal: Journal,
) -> bool:
    """Write what was changed of the run's artifacts; False if there is something to download."""
    artifacts = await logged_artifacts(session, ref, contents)
    if record.logged is None or not {each.id for each in artifacts} <= set(record.logged):
        return False
    described = dict(record.described or {})
    for artifact in artifacts:
        name, facts = described_folder(artifact, described), facts_of(artifact)
        if name is None and record.described is not None:
            continue  # it was given another name since; the files stay where they are
        name = name or folders_of(artifact)[0]
        if described.get(name) != facts:
            if not await run_sync(write_changes, artifact, name, folder):
                return False
            described[name] = facts
    used = record.used or ()
    if not has_all_used(contents, used):
        used = await used_artifacts(session, ref)
    new = msgspec.structs.replace(record, used=used, described=described)
    if new != record:
        await run_sync(journal.append, new)
    return True


def write_changes(artifact: ArtifactRecord, name: str, folder: Folder) -> bool:
    """Write what was changed of an exported version; False if it is not there to be changed."""
    text = read_whole(folder, artifact_path(name))
    try:
        before = read_artifact(text) if text is not None else None
    except msgspec.MsgspecError:
        return False  # it is damaged
    if before is None or before.id != artifact.id:
        return False
    after = before.changed_to(artifact)
    if after != before:
        after.write(folder)
    return True
