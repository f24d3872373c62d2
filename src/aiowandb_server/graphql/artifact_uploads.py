"""Uploads of artifact versions: create, upload files and manifests, commit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiowandb_server.errors import RequestError
from aiowandb_server.graphql.artifacts import (
    own_artifact,
    project_of_version,
    require_artifact,
    upload_path,
)
from aiowandb_server.graphql.files import FileView
from aiowandb_server.graphql.projects import ensure_project
from aiowandb_server.graphql.resolving import Resolvers, unpaged
from aiowandb_server.graphql.scalars import encode_id, row_id
from aiowandb_server.store.artifact_records import NewVersion

if TYPE_CHECKING:
    from aiowandb_server.graphql.context import Context
    from aiowandb_server.store.artifact_records import ManifestRow

resolvers = Resolvers()

# The region of W&B's own local server.
_REGION = "minio-local"


@resolvers.mutation("createArtifact")
def create_artifact(context: Context, new: dict[str, Any]) -> dict[str, Any]:
    region = new.get("storageRegion") or _REGION
    if region not in (_REGION, "default"):
        raise RequestError(f"invalid storageRegion {region!r}: the only region is {_REGION!r}")
    project, _ = ensure_project(context, new["projectName"], new["entityName"])
    run = context.store.runs.get(project, new["runName"]) if new.get("runName") else None
    names = [new.get("artifactCollectionName"), *(new.get("artifactCollectionNames") or ())]
    name = next((name for name in names if name), None)
    if name is None:
        raise RequestError("the name of the artifact's collection is missing")
    collection = context.store.collections.ensure(project, name, new["artifactTypeName"])
    announced = NewVersion(
        digest=new["digest"],
        client_id=new.get("clientID"),
        distributed_id=new.get("distributedID") or None,
        description=new.get("description"),
        metadata=new.get("metadata"),
        ttl_seconds=new.get("ttlDurationSeconds"),
        history_step=new.get("historyStep"),
        aliases=alias_names(new),
        tags=tuple(tag["tagName"] for tag in new.get("tags") or ()),
        run_id=run.id if run else None,
        user_id=context.viewer.id,
        reuse_same_digest=bool(new.get("enableDigestDeduplication")),
        digest_algorithm=new.get("digestAlgorithm") or "MANIFEST_MD5",
    )
    return {"artifact": context.store.artifacts.create(collection, announced)}


@resolvers.mutation("createArtifactManifest")
def create_manifest(context: Context, new: dict[str, Any]) -> dict[str, Any]:
    artifact = require_artifact(context, new["artifactID"])
    base = new.get("baseArtifactID")
    manifest = context.store.manifests.announce(
        artifact.id,
        kind=new.get("type") or "FULL",
        name=new["name"],
        digest=new["digest"],
        base_id=require_artifact(context, base).id if base else None,
    )
    return {"artifactManifest": manifest}


@resolvers.mutation("updateArtifactManifest")
def update_manifest(context: Context, change: dict[str, Any]) -> dict[str, Any]:
    manifest = _require_manifest(context, change["artifactManifestID"])
    base = change.get("baseArtifactID")
    context.store.manifests.change(
        manifest.id,
        digest=change.get("digest"),
        base_id=require_artifact(context, base).id if base else None,
    )
    return {"artifactManifest": context.store.manifests.get(manifest.id)}


@resolvers.mutation("createArtifactFiles")
def create_artifact_files(context: Context, upload: dict[str, Any]) -> dict[str, Any]:
    views = []
    for spec in upload["artifactFiles"]:
        artifact = require_artifact(context, spec["artifactID"])
        entity = project_of_version(context, artifact).entity
        owner = context.store.accounts.entity(entity)
        digest = (spec.get("digest") if artifact.uses_xxh128 else None) or spec["md5"]
        known = owner is not None and context.store.manifests.has_content(
            owner.id, digest, xxh128=artifact.uses_xxh128
        )
        views.append(
            FileView(
                encode_id("ArtifactFile", artifact.id, spec["name"]),
                spec["name"],
                upload_path(entity, artifact, digest),
                md5=spec["md5"],
                digest=digest,
                mimetype=spec.get("mimetype"),
                wants_upload=not known,
                artifact=artifact,
            )
        )
    return {"files": unpaged(views)}


@resolvers.mutation("completeMultipartUploadArtifact")
def complete_multipart(_context: Context, _completion: dict[str, Any]) -> dict[str, Any]:
    raise RequestError("multipart upload not found: this server does not start any", 404)


@resolvers.mutation("commitArtifact")
def commit_artifact(context: Context, commit: dict[str, Any]) -> dict[str, Any]:
    artifact = require_artifact(context, commit["artifactID"])
    if artifact.state == "PENDING":
        entity = context.store.accounts.entity(project_of_version(context, artifact).entity)
        if entity is None:
            raise RequestError("the entity of this artifact has been deleted", 404)
        manifest = context.store.manifests.current(artifact.id)
        if manifest and manifest.base_id and not own_artifact(context, manifest.base_id):
            # Whoever announced it may have left the base's team since, and would get what is in it.
            raise RequestError("the base of this artifact was not found", 404)
        size, count = context.store.manifests.settle(artifact, entity.id)
        artifact = context.store.artifacts.commit(artifact.id, size=size, file_count=count)
    return {"artifact": artifact}


def alias_names(change: dict[str, Any]) -> tuple[str, ...]:
    return tuple(alias["alias"] for alias in change.get("aliases") or ())


def _require_manifest(context: Context, manifest_id: str) -> ManifestRow:
    manifest = context.store.manifests.get(row_id("Manifest", manifest_id))
    if manifest is None or own_artifact(context, manifest.artifact_id) is None:
        raise RequestError("manifest not found", 404)
    return manifest
