"""Copies the artifacts of runs: all versions in the order of their creation, with their lineage.

Versions get the next number in the target. Because of the order these are the numbers of the
source, unless versions were deleted there.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from aiowandb.concurrency.tasks import gather
from aiowandb.errors import (
    AiowandbError,
    CommError,
    ConnectError,
    NotFoundError,
    RateLimitError,
    ServerError,
    TimeoutError,
    TooLargeError,
)
from aiowandb.files.artifact_files import ArtifactFiles, read_manifest
from aiowandb.files.artifact_lists import RunArtifacts
from aiowandb.files.artifact_uploads import NewEntry, UploadedArtifact, upload_artifact
from aiowandb.ingest.report import CopiedRun, CopyReport
from aiowandb.ingest.source import SourceArtifact, SourceRun
from aiowandb.ingest.target import Found, Target
from aiowandb.ingest.uploads import remote_content
from aiowandb.net import FATAL, Session
from aiowandb.paths import RunRef
from aiowandb.redaction import Link
from aiowandb.wire import lenient
from aiowandb.wire.artifact_record import ArtifactRecord, number_of
from aiowandb.wire.artifact_writing import (
    NewArtifact,
    artifact_id_of,
    update_artifact,
    use_artifact,
)
from aiowandb.wire.artifacts import Direction, artifact_by_id, artifact_by_name
from aiowandb.wire.json_edit import alike
from aiowandb.wire.manifest import ManifestEntry

if TYPE_CHECKING:
    from aiowandb.ingest.writer import RunWriter

_LATEST = "latest"
_COMMITTED = "COMMITTED"
# The runs whose artifacts are listed at once.
_AT_ONCE = 8
_PASSING = (ConnectError, TimeoutError, ServerError, RateLimitError)
_BEGINNING = datetime.fromtimestamp(0, UTC)


class UnfinishedRun(NamedTuple):
    """A run that is copied except for its artifacts."""

    run: SourceRun
    writer: RunWriter
    found: Found
    report: CopiedRun


class _Made(NamedTuple):
    artifact: SourceArtifact
    by: UnfinishedRun


class ArtifactCopier:
    """Copies the artifacts that runs have logged and used."""

    def __init__(self, target: Target, report: CopyReport) -> None:
        self._target = target
        self._session = target.session
        self._report = report
        # Ids in the target by keys in the source.
        self._ids: dict[str, str] = {}
        # By collection, a version that the next copy may bring: later ones must wait for it.
        self._to_retry: dict[str, str] = {}

    async def copy(self, runs: Sequence[UnfinishedRun]) -> None:
        """Copy the artifacts of the runs; those of which something cannot be copied are failed."""
        found = await gather(runs, self._made_by, at_once=_AT_ONCE)
        made = [each for some in found for each in some]
        # The oldest first: versions are numbered in this order, and may refer to older ones. One
        # that several runs have logged is attributed to the first.
        made.sort(key=_age)
        for each in made:
            await self._make(*each)
        await gather(runs, self._use_all, at_once=_AT_ONCE)

    async def _made_by(self, by: UnfinishedRun) -> list[_Made]:
        made: list[_Made] = []
        async with _failing(by), aclosing(by.run.artifacts()) as artifacts:
            made += [_Made(artifact, by) async for artifact in artifacts]
        return made

    async def _use_all(self, by: UnfinishedRun) -> None:
        async with _failing(by), aclosing(by.run.used_artifacts()) as used:
            async for artifact in used:
                await self._use(artifact, by)

    async def _make(self, artifact: SourceArtifact, by: UnfinishedRun) -> None:
        name = artifact.label
        report = CopiedRun(run=name, target=name)
        self._report.artifacts.append(report)
        try:
            if (earlier := self._to_retry.get(artifact.name)) is not None:
                raise CommError(
                    f"{earlier} could not be copied yet, and versions are numbered in their order."
                    " Copy again."
                )
            entries = [self._mapped(entry, report) for entry in await artifact.entries()]
            new = await self._new(artifact)
            made = await upload_artifact(self._session, by.found.ref, new, entries)
            is_changed = not made.is_new and await self._update(artifact, made)
        except FATAL:
            raise
        except AiowandbError as error:
            report.status, report.error = "failed", str(error)
            by.report.status, by.report.error = "failed", f"artifact {name}: {error}"
            if _may_pass(error):
                self._to_retry.setdefault(artifact.name, name)
            return
        self._ids[artifact.key] = made.id
        self._note(report, artifact, made)
        if is_changed:
            report.status = "updated"

    async def _update(self, artifact: SourceArtifact, made: UploadedArtifact) -> bool:
        """Update what is said about a version that was copied before; whether that has changed."""
        if artifact.version is None:
            return False  # it may be one of somebody else, with the same content
        node = await self._session.ask(artifact_by_id(made.id))
        if node is None:
            return False
        there, metadata = node.record(), artifact.metadata or "{}"
        removed = [tag for tag in there.tags if tag not in artifact.tags]
        is_same = (there.description or "") == (artifact.description or "")
        if is_same and not removed and alike(there.metadata, lenient.loads_object(metadata)):
            return False
        description = artifact.description or ""
        await self._session.ask(update_artifact(made.id, description, metadata, removed))
        return True

    async def _new(self, artifact: SourceArtifact) -> NewArtifact:
        # The same each time that it is copied here, so that it is announced once. Ids of artifacts
        # are of one server, and those that clients give must differ throughout a server.
        whence = f"{self._target.name}\n{self._report.source}\n{artifact.key}"
        client_id = blake2b(whence.encode(), digest_size=16).hexdigest()
        sequence_id = None
        if artifact.client_id and await self._is_free(artifact.client_id):
            client_id, sequence_id = artifact.client_id, artifact.sequence_client_id
        return NewArtifact(
            collection=artifact.name,
            type=artifact.type,
            digest=artifact.digest,
            aliases=[alias for alias in artifact.aliases if alias != _LATEST],
            tags=artifact.tags,
            description=artifact.description,
            metadata=artifact.metadata,
            client_id=client_id,
            sequence_client_id=sequence_id,
            # Where W&B numbers the versions: one with the content of the last one is that one.
            deduplicate=artifact.version is None,
        )

    async def _is_free(self, client_id: str) -> bool:
        """Whether no artifact of another project has this id."""
        known = await self._session.ask(artifact_id_of(client_id))
        found = await self._session.ask(artifact_by_id(known)) if known else None
        if found is None:
            return known is None
        place = found.record().source
        return (place.entity, place.project) == (self._target.entity, self._target.project)

    def _note(self, report: CopiedRun, artifact: SourceArtifact, made: UploadedArtifact) -> None:
        report.status = "created" if made.is_new else "unchanged"
        report.carried = {"artifacts": 1, "artifact files": made.files, "bytes": made.bytes}
        if not made.is_new:
            report.carried = {}
        elif artifact.version is None:
            report.target = f"{artifact.name}:v{made.version}"
        elif made.version not in (None, artifact.version):
            report.target = f"{artifact.name}:v{made.version}"
            report.changed.append(
                f"version: v{artifact.version} is v{made.version} here, because versions are"
                " numbered without gaps"
            )

    def _mapped(self, entry: NewEntry, report: CopiedRun) -> NewEntry:
        """The entry; a reference to another artifact refers to its copy."""
        target = ManifestEntry(entry.digest, ref=entry.ref).target
        if target is None:
            return entry
        copied = self._ids.get(target.artifact_id)
        if copied is None:
            report.changed.append(f"{entry.name} still refers to an artifact of the source")
            return entry
        hex_id = base64.b64decode(copied).hex()
        return msgspec.structs.replace(entry, ref=f"wandb-artifact://{hex_id}/{target.name}")

    async def _use(self, artifact: SourceArtifact, by: UnfinishedRun) -> None:
        artifact_id = self._ids.get(artifact.key) or await self._copied_before(artifact)
        if artifact_id is None:
            by.report.dropped.append(
                f"that it used {artifact.label}, which is not part of the copy"
            )
            return
        await self._session.ask(use_artifact(by.found.ref, artifact_id))

    async def _copied_before(self, artifact: SourceArtifact) -> str | None:
        asked = artifact_by_name(self._target.entity, self._target.project, artifact.label)
        try:
            found = await self._session.ask(asked)
        except CommError as error:
            if isinstance(error, FATAL):
                raise
            return None
        known = found.artifact if found else None
        return known.id if known and known.digest == artifact.digest else None


@asynccontextmanager
async def _failing(by: UnfinishedRun) -> AsyncIterator[None]:
    """An error in the block is one of this run, unless it may pass."""
    try:
        yield
    except FATAL:
        raise
    except AiowandbError as error:
        if _may_pass(error):
            raise
        by.report.status, by.report.error = "failed", f"artifacts: {error}"


def _may_pass(error: AiowandbError) -> bool:
    """Whether a later attempt may succeed, as with a server that is down."""
    return isinstance(error, _PASSING) and not isinstance(error, TooLargeError)


def _age(made: _Made) -> tuple[datetime, int, datetime]:
    artifact, by = made
    created = by.run.facts.created_at or _BEGINNING
    return artifact.created_at or _BEGINNING, artifact.version or 0, created


async def artifacts_of(
    session: Session, ref: RunRef, direction: Direction
) -> AsyncGenerator[SourceArtifact]:
    """The artifacts that a run has logged or used."""
    listing = RunArtifacts(session, ref, direction, fresh=True)
    async with aclosing(listing.pages()) as pages:
        async for page in pages:
            for record in page:
                if record.state == _COMMITTED:
                    yield _source_artifact(session, record)


def _source_artifact(session: Session, record: ArtifactRecord) -> SourceArtifact:
    async def entries() -> Sequence[NewEntry]:
        return await _entries(session, record)

    return SourceArtifact(
        key=record.id,
        name=record.source.collection,
        type=record.type,
        version=number_of(record),
        digest=record.digest,
        entries=entries,
        aliases=tuple(record.aliases),
        tags=tuple(record.tags),
        description=record.description,
        metadata=lenient.dumps(record.metadata) if record.metadata else None,
        created_at=record.created_at,
    )


async def _entries(session: Session, record: ArtifactRecord) -> list[NewEntry]:
    manifest = await read_manifest(session, record.id, record.qualified_name)
    files = [name for name, entry in manifest.entries.items() if entry.ref is None]
    links: dict[str, Link] = {}
    source = ArtifactFiles(session, record.source, per_page=1000)
    if files:
        async with aclosing(source.pages(fresh=True)) as pages:
            async for page in pages:
                links |= {file.name: link for file in page if (link := source.link(file))}
    found = []
    for name, entry in manifest.entries.items():
        size = entry.size or 0
        content = None
        if entry.ref is None:
            if name not in links:
                raise NotFoundError(
                    f"The file {name} of {record.qualified_name} was deleted at W&B."
                )
            content = remote_content(session, links[name], size)
        found.append(NewEntry(name, entry.digest, size, content, entry.ref, entry.extra))
    return found
