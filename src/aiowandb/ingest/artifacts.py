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
from aiowandb.errors import AiowandbError, CommError, NotFoundError
from aiowandb.files.artifact_files import ArtifactFiles, read_manifest
from aiowandb.files.artifact_lists import RunArtifacts
from aiowandb.files.artifact_uploads import NewEntry, UploadedArtifact, upload_artifact
from aiowandb.ingest.links import LinkCopier
from aiowandb.ingest.report import CopiedRun, CopyReport
from aiowandb.ingest.source import SourceArtifact, SourceRun
from aiowandb.ingest.target import Found, Target, may_pass
from aiowandb.ingest.uploads import remote_content
from aiowandb.net import FATAL, Session
from aiowandb.paths import RunRef
from aiowandb.redaction import Link
from aiowandb.wire import lenient
from aiowandb.wire.artifact_record import ArtifactNode, ArtifactRecord, number_of
from aiowandb.wire.artifact_writing import (
    NewArtifact,
    add_aliases,
    artifact_id_of,
    artifact_ids_of,
    ids_in,
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
# The versions whose ids are asked for in one request.
_NAMED_TOGETHER = 200
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
    # The version in the target, if an earlier copy has completed it.
    there: ArtifactNode | None = None


class ArtifactCopier:
    """Copies the artifacts that runs have logged and used."""

    def __init__(self, target: Target, report: CopyReport) -> None:
        self._target = target
        self._session = target.session
        self._report = report
        self._links = LinkCopier(target)
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
        await self._links.make()
        await gather(runs, self._use_all, at_once=_AT_ONCE)

    async def _made_by(self, by: UnfinishedRun) -> list[_Made]:
        made: list[_Made] = []
        async with _failing(by), aclosing(by.run.artifacts()) as artifacts:
            found = [artifact async for artifact in artifacts]
            copied = await self._copied(by, found) if by.report.status == "updated" else {}
            made += [_Made(artifact, by, copied.get(artifact.key)) for artifact in found]
        return made

    async def _copied(
        self, by: UnfinishedRun, made: Sequence[SourceArtifact]
    ) -> dict[str, ArtifactNode]:
        """What the run's copy has logged of these versions, by their keys in the source.

        It takes two requests, and not several for each version.
        """
        made = [artifact for artifact in made if artifact.version is not None]
        if not made:
            return {}
        logged: dict[str, ArtifactNode] = {}
        listing = RunArtifacts(self._session, by.found.ref, "output", fresh=True, linked=True)
        async with aclosing(listing.nodes()) as pages:
            async for page in pages:
                logged |= {node.id: node for node in page if node.state == _COMMITTED}
        if not logged:
            return {}
        found: dict[str, ArtifactNode] = {}
        for first in range(0, len(made), _NAMED_TOGETHER):
            some = made[first : first + _NAMED_TOGETHER]
            answer = await self._session.ask(artifact_ids_of([self._client_id(a) for a in some]))
            for artifact, artifact_id in zip(some, ids_in(answer, len(some)), strict=True):
                node = logged.get(artifact_id or "")
                if node and node.digest == artifact.digest:
                    found[artifact.key] = node
        return found

    async def _use_all(self, by: UnfinishedRun) -> None:
        async with _failing(by), aclosing(by.run.used_artifacts()) as used:
            async for artifact in used:
                await self._use(artifact, by)

    async def _make(
        self, artifact: SourceArtifact, by: UnfinishedRun, there: ArtifactNode | None
    ) -> None:
        name = artifact.label
        report = CopiedRun(run=name, target=name)
        self._report.artifacts.append(report)
        try:
            if (earlier := self._to_retry.get(artifact.name)) is not None:
                raise CommError(
                    f"{earlier} could not be copied yet, and versions are numbered in their order."
                    " Copy again."
                )
            if there is None:
                made = await self._uploaded(artifact, by, report)
                if not made.is_new and artifact.version is not None:
                    there = await self._session.ask(artifact_by_id(made.id, linked=True))
            else:
                made = UploadedArtifact(there.id, is_new=False, version=there.version_index)
            is_changed = there is not None and await self._update(artifact, there)
        except FATAL:
            raise
        except AiowandbError as error:
            report.status, report.error = "failed", str(error)
            by.report.status, by.report.error = "failed", f"artifact {name}: {error}"
            if may_pass(error):
                self._to_retry.setdefault(artifact.name, name)
            if artifact.name in self._to_retry:
                self._links.note(artifact.other_collections or (), None, (), report, by.report)
            return
        self._ids[artifact.key] = made.id
        self._note(report, artifact, made)
        if is_changed:
            report.status = "updated"
        self._links.note(
            artifact.other_collections or (),
            made.id,
            there.links if there else (),
            report,
            by.report,
        )

    async def _uploaded(
        self, artifact: SourceArtifact, by: UnfinishedRun, report: CopiedRun
    ) -> UploadedArtifact:
        entries = [self._mapped(entry, report) for entry in await artifact.entries()]
        new = await self._new(artifact)
        return await upload_artifact(self._session, by.found.ref, new, entries)

    async def _update(self, artifact: SourceArtifact, node: ArtifactNode) -> bool:
        """Update what is said about a version that was copied before; whether that has changed."""
        there, metadata = node.record(), artifact.metadata or "{}"
        description = artifact.description or ""
        added = [tag for tag in artifact.tags if tag not in there.tags]
        removed = [tag for tag in there.tags if tag not in artifact.tags]
        aliases = [alias for alias in artifact.aliases if alias not in (*there.aliases, _LATEST)]
        is_same = (there.description or "") == description and not (added or removed)
        is_same = is_same and alike(there.metadata, lenient.loads_object(metadata))
        if not is_same:
            await self._session.ask(update_artifact(node.id, description, metadata, added, removed))
        if aliases:
            await self._session.ask(add_aliases(node.id, there.source, aliases))
        return not is_same or bool(aliases)

    def _client_id(self, artifact: SourceArtifact) -> str:
        """The same each time that it is copied here, so that it is announced once.

        Ids of artifacts are of one server, and those that clients give must differ throughout a
        server.
        """
        whence = f"{self._target.name}\n{self._report.source}\n{artifact.key}"
        return blake2b(whence.encode(), digest_size=16).hexdigest()

    async def _new(self, artifact: SourceArtifact) -> NewArtifact:
        client_id, sequence_id = self._client_id(artifact), None
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
        if may_pass(error):
            raise
        by.report.status, by.report.error = "failed", f"artifacts: {error}"


def _age(made: _Made) -> tuple[datetime, int, datetime]:
    artifact, by, _ = made
    created = by.run.facts.created_at or _BEGINNING
    return artifact.created_at or _BEGINNING, artifact.version or 0, created


async def artifacts_of(
    session: Session, ref: RunRef, direction: Direction
) -> AsyncGenerator[SourceArtifact]:
    """The artifacts that a run has logged or used."""
    listing = RunArtifacts(session, ref, direction, fresh=True, linked=direction == "output")
    async with aclosing(listing.nodes()) as pages:
        async for page in pages:
            for node in page:
                if node.state == _COMMITTED:
                    yield _source_artifact(session, node)


def _source_artifact(session: Session, node: ArtifactNode) -> SourceArtifact:
    record = node.record()

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
        other_collections=tuple(node.links),
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
