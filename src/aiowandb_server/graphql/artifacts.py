"""Queries for artifact versions and their files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiowandb_server.errors import RequestError
from aiowandb_server.graphql.collections import (
    aliases_of_member,
    default_type,
    find_member,
    source_collection,
    visible_collection,
)
from aiowandb_server.graphql.files import FileView
from aiowandb_server.graphql.resolving import Resolvers, connection, page_size, unpaged
from aiowandb_server.graphql.scalars import encode_id, row_id
from aiowandb_server.store.manifests import XXH128_PREFIX, hex_digest

if TYPE_CHECKING:
    from aiowandb_server.graphql.context import Context
    from aiowandb_server.store.artifact_records import (
        AliasRow,
        ArtifactRow,
        ArtifactType,
        CollectionRow,
        Entry,
        ManifestRow,
        MembershipRow,
    )
    from aiowandb_server.store.records import ProjectRow, RunRow, UserRow

resolvers = Resolvers()

_FILES_A_PAGE = 5000


@dataclass(frozen=True, slots=True)
class ClientIdMapping:
    server_id: str


def find_artifact(context: Context, artifact_id: str) -> ArtifactRow | None:
    """The version with this id, or None if it does not exist or the viewer may not see it.

    They may see versions in their collections, also those that are only linked there.
    """
    found = context.store.artifacts.by_id(row_id("Artifact", artifact_id))
    if found is None:
        return None
    return found if _is_own(context, found) or _visible_members(found, context) else None


def artifact_by_client_id(context: Context, client_id: str) -> ArtifactRow | None:
    """The version with this client id that the viewer may see."""
    return context.store.artifacts.by_client_id(client_id, entities=context.entities)


def own_artifact(context: Context, artifact_id: int) -> ArtifactRow | None:
    """The version with this row id, if it is of a project of the viewer or of a team of theirs."""
    artifact = context.store.artifacts.by_id(artifact_id)
    return artifact if artifact and _is_own(context, artifact) else None


def _is_own(context: Context, artifact: ArtifactRow) -> bool:
    collection = context.store.collections.by_id(artifact.collection_id)
    return collection is not None and context.may_see_project(collection.project_id)


def require_artifact(context: Context, artifact_id: str) -> ArtifactRow:
    """The version with this id, to change it; those that are only linked cannot be changed."""
    return _found(own_artifact(context, row_id("Artifact", artifact_id)), artifact_id)


def require_readable_artifact(context: Context, artifact_id: str) -> ArtifactRow:
    return _found(find_artifact(context, artifact_id), artifact_id)


def _found(artifact: ArtifactRow | None, artifact_id: str) -> ArtifactRow:
    if artifact is None:
        raise RequestError(f"artifact {artifact_id!r} not found", 404)
    return artifact


def sequence_of(context: Context, artifact: ArtifactRow) -> CollectionRow:
    collection = context.store.collections.by_id(artifact.collection_id)
    if collection is None:
        raise RequestError("the collection of this artifact has been deleted", 404)
    return collection


def project_of_version(context: Context, artifact: ArtifactRow) -> ProjectRow:
    project = context.store.projects.by_id(sequence_of(context, artifact).project_id)
    if project is None:
        raise RequestError("the project of this artifact has been deleted", 404)
    return project


@resolvers("Query", "artifact")
def artifact(_: None, context: Context, id: str) -> ArtifactRow | None:
    return find_artifact(context, id)


@resolvers("Query", "clientIDMapping")
def client_id_mapping(_: None, context: Context, client_id: str) -> ClientIdMapping | None:
    found = artifact_by_client_id(context, client_id)
    return ClientIdMapping(encode_id("Artifact", found.id)) if found else None


@resolvers("Project", "artifact")
def artifact_by_name(project: ProjectRow, context: Context, name: str) -> ArtifactRow | None:
    member = find_member(context, project, name)
    return context.store.artifacts.by_id(member.artifact_id) if member else None


@resolvers("Run", "outputArtifacts")
def output_artifacts(
    run: RunRow, context: Context, after: str | None = None, first: int | None = None
) -> Any:
    return _of_run(context, run, "output", first, after)


@resolvers("Run", "inputArtifacts")
def input_artifacts(
    run: RunRow, context: Context, after: str | None = None, first: int | None = None
) -> Any:
    return _of_run(context, run, "input", first, after)


def _of_run(
    context: Context, run: RunRow, direction: str, first: int | None, after: str | None
) -> Any:
    page = context.store.artifacts.of_run(
        run.id,
        direction,
        entities=context.entities,
        or_linked=True,
        first=page_size(first),
        after=after,
    )
    return connection(
        page.items,
        page.cursors,
        has_next=page.has_next,
        totalCount=lambda: context.store.artifacts.count_of_run(
            run.id, direction, entities=context.entities, or_linked=True
        ),
    )


@resolvers("ArtifactCollectionMembership", "files")
def files_of_member(
    member: MembershipRow,
    context: Context,
    names: list[str] | None = None,
    after: str | None = None,
    first: int | None = None,
) -> Any:
    found = context.store.artifacts.by_id(member.artifact_id)
    return files_of_version(found, context, names, after, first) if found else None


@resolvers("Artifact", "artifactSequence")
def artifact_sequence(artifact: ArtifactRow, context: Context) -> CollectionRow:
    return source_collection(context, sequence_of(context, artifact))


@resolvers("Artifact", "artifactType")
def type_of_version(artifact: ArtifactRow, context: Context) -> ArtifactType:
    return default_type(artifact_sequence(artifact, context), context)


@resolvers("Artifact", "tags")
def tags_of_version(artifact: ArtifactRow, context: Context) -> Any:
    return context.store.artifacts.tags(artifact.id)


@resolvers("Artifact", "aliases")
def aliases_of_version(artifact: ArtifactRow, context: Context) -> list[AliasRow]:
    members = _visible_members(artifact, context)
    return [alias for member in members for alias in aliases_of_member(member, context)]


@resolvers("Artifact", "currentManifest")
def current_manifest(artifact: ArtifactRow, context: Context) -> ManifestRow | None:
    return context.store.manifests.current(artifact.id)


@resolvers("Artifact", "createdBy")
def created_by(artifact: ArtifactRow, context: Context) -> RunRow | UserRow | None:
    if artifact.run_id is not None:
        run = context.store.runs.by_id(artifact.run_id)
        return run if run and context.may_see(run.entity) else None
    return context.user(artifact.user_id)


@resolvers("Artifact", "usedBy")
def used_by(artifact: ArtifactRow, context: Context) -> Any:
    runs = (context.store.runs.by_id(run) for run in context.store.artifacts.users_of(artifact.id))
    return unpaged([run for run in runs if run and context.may_see(run.entity)])


@resolvers("Artifact", "artifactMemberships")
def artifact_memberships(artifact: ArtifactRow, context: Context) -> Any:
    return unpaged(_visible_members(artifact, context))


def _visible_members(artifact: ArtifactRow, context: Context) -> list[MembershipRow]:
    """The version in its collections, without those of projects that the viewer may not see."""
    return [
        member
        for member in context.store.artifacts.memberships(artifact.id)
        if visible_collection(context, member.collection_id)
    ]


@resolvers("Artifact", "files")
def files_of_version(
    artifact: ArtifactRow,
    context: Context,
    names: list[str] | None = None,
    after: str | None = None,
    first: int | None = None,
) -> Any:
    size = page_size(first, limit=_FILES_A_PAGE)
    page = context.store.manifests.entries(artifact.id, names=names or (), first=size, after=after)
    entity = project_of_version(context, artifact).entity
    return connection(
        [entry_view(entity, artifact, entry) for entry in page.items],
        page.cursors,
        has_next=page.has_next,
        totalCount=lambda: context.store.manifests.count_entries(artifact.id, names or ()),
    )


@resolvers("Artifact", "filesByManifestEntries")
def files_by_entries(
    artifact: ArtifactRow, context: Context, entries: list[dict[str, Any]] | None = None, **_: Any
) -> Any:
    names = [entry["name"] for entry in entries or () if entry.get("name")]
    page = context.store.manifests.entries(artifact.id, names=names, first=_FILES_A_PAGE)
    entity = project_of_version(context, artifact).entity
    return unpaged([entry_view(entity, artifact, entry) for entry in page.items])


@resolvers("ArtifactManifest", "file")
def manifest_file(manifest: ManifestRow, _context: Context) -> FileView:
    return FileView(encode_id("Manifest", manifest.id), manifest.name, manifest_path(manifest))


def entry_view(entity: str, artifact: ArtifactRow, entry: Entry) -> FileView:
    return FileView(
        encode_id("Entry", artifact.id, entry.name),
        entry.name,
        "" if entry.reference else content_path(entity, entry.digest),
        entry.size,
        None,
        None if artifact.uses_xxh128 else entry.digest,
        artifact.updated_at,
        entry.reference,
        artifact=artifact,
        digest=entry.digest,
    )


def content_path(entity: str, digest: str) -> str:
    """The path to download the content with this base64 digest."""
    return f"/wandb_artifacts/{entity}/{hex_digest(digest)}"


def upload_path(entity: str, artifact: ArtifactRow, digest: str) -> str:
    """The path to upload the content to, which says whether its digest may be an XXH128."""
    prefix = XXH128_PREFIX if artifact.uses_xxh128 else ""
    return f"/wandb_artifacts/{entity}/{prefix}{hex_digest(digest)}"


def manifest_path(manifest: ManifestRow) -> str:
    return f"/manifests/{manifest.id}/wandb_manifest.json"


resolvers.fields("ArtifactManifest", id=lambda manifest: encode_id("Manifest", manifest.id))
resolvers.fields(
    "Artifact",
    id=lambda artifact: encode_id("Artifact", artifact.id),
    versionIndex=lambda artifact: artifact.version,
    ttlDurationSeconds=lambda artifact: artifact.ttl_seconds,
    ttlIsInherited=lambda artifact: artifact.ttl_seconds == -2,
)
