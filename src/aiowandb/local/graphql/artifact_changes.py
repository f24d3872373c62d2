"""Artifacts made and changed: announced, uploaded, committed, used, linked, renamed, deleted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiowandb.local.graphql import ids
from aiowandb.local.graphql.artifacts import (
    content_path,
    project_of_version,
    require_artifact,
    sequence_of,
)
from aiowandb.local.graphql.collections import require_collection
from aiowandb.local.graphql.context import RefusedError
from aiowandb.local.graphql.files import FileView
from aiowandb.local.graphql.projects import ensure_project, require_project
from aiowandb.local.graphql.resolving import Resolvers, whole_list
from aiowandb.local.graphql.runs import require_run
from aiowandb.local.store.artifact_records import NewArtifact

if TYPE_CHECKING:
    from aiowandb.local.graphql.context import Context
    from aiowandb.local.store.artifact_records import Artifact, Collection, Manifest

resolvers = Resolvers()

# The one that W&B's own local server has.
_REGION = "minio-local"


@dataclass(frozen=True, slots=True)
class _Deleted:
    """What is left to say of a collection that has just been deleted."""

    kind: str
    state: str = "DELETED"


@resolvers.mutation("createArtifact")
def create_artifact(context: Context, new: dict[str, Any]) -> dict[str, Any]:
    region = new.get("storageRegion") or _REGION
    if region not in (_REGION, "default"):
        raise RefusedError(f"invalid storageRegion {region!r}: there is one here, {_REGION!r}")
    project, _ = ensure_project(context, new["projectName"], new["entityName"])
    run = context.store.runs.get(project, new["runName"]) if new.get("runName") else None
    names = [new.get("artifactCollectionName"), *(new.get("artifactCollectionNames") or ())]
    name = next((name for name in names if name), None)
    if name is None:
        raise RefusedError("an artifact belongs to a collection: its name is missing")
    collection = context.store.collections.ensure(project, name, new["artifactTypeName"])
    announced = NewArtifact(
        digest=new["digest"],
        client_id=new.get("clientID"),
        distributed_id=new.get("distributedID") or None,
        description=new.get("description"),
        metadata=new.get("metadata"),
        ttl_seconds=new.get("ttlDurationSeconds"),
        history_step=new.get("historyStep"),
        aliases=_aliases(new),
        tags=tuple(tag["tagName"] for tag in new.get("tags") or ()),
        run_id=run.id if run else None,
        user_id=context.viewer.id,
        reuse_same_digest=bool(new.get("enableDigestDeduplication")),
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
        base_id=ids.row_id("Artifact", base) if base else None,
    )
    return {"artifactManifest": manifest}


@resolvers.mutation("updateArtifactManifest")
def update_manifest(context: Context, change: dict[str, Any]) -> dict[str, Any]:
    manifest = _require_manifest(context, change["artifactManifestID"])
    base = change.get("baseArtifactID")
    context.store.manifests.change(
        manifest.id,
        digest=change.get("digest"),
        base_id=ids.row_id("Artifact", base) if base else None,
    )
    return {"artifactManifest": context.store.manifests.get(manifest.id)}


@resolvers.mutation("createArtifactFiles")
def create_artifact_files(context: Context, upload: dict[str, Any]) -> dict[str, Any]:
    views = []
    for spec in upload["artifactFiles"]:
        artifact = require_artifact(context, spec["artifactID"])
        entity = project_of_version(context, artifact).entity
        owner = context.store.accounts.entity(entity)
        known = owner is not None and context.store.manifests.has_content(owner.id, spec["md5"])
        views.append(
            FileView(
                ids.encode("ArtifactFile", artifact.id, spec["name"]),
                spec["name"],
                content_path(entity, spec["md5"]),
                md5=spec["md5"],
                mimetype=spec.get("mimetype"),
                wants_upload=not known,
                artifact=artifact,
            )
        )
    return {"files": whole_list(views) | {"totalCount": len(views)}}


@resolvers.mutation("completeMultipartUploadArtifact")
def complete_multipart(_context: Context, _completion: dict[str, Any]) -> dict[str, Any]:
    raise RefusedError("no upload in several parts was begun here", 404)


@resolvers.mutation("commitArtifact")
def commit_artifact(context: Context, commit: dict[str, Any]) -> dict[str, Any]:
    artifact = require_artifact(context, commit["artifactID"])
    if artifact.state == "PENDING":
        entity = context.store.accounts.entity(project_of_version(context, artifact).entity)
        if entity is None:
            raise RefusedError("the entity of this artifact has been deleted", 404)
        size, count = context.store.manifests.settle(artifact, entity.id)
        artifact = context.store.artifacts.commit(artifact.id, size=size, file_count=count)
    return {"artifact": artifact}


@resolvers.mutation("useArtifact")
def use_artifact(context: Context, use: dict[str, Any]) -> dict[str, Any]:
    run = require_run(context, use["runName"], use["projectName"], use["entityName"])
    artifact = require_artifact(context, use["artifactID"])
    context.store.artifacts.use(run, artifact, use.get("usedAs"))
    return {"artifact": artifact}


@resolvers.mutation("updateArtifact")
def update_artifact(context: Context, change: dict[str, Any]) -> dict[str, Any]:
    artifact = require_artifact(context, change["artifactID"])
    changed = context.store.artifacts.change(
        artifact,
        description=change.get("description"),
        metadata=change.get("metadata"),
        ttl_seconds=change.get("ttlDurationSeconds"),
        add_tags=[tag["tagName"] for tag in change.get("tagsToAdd") or ()],
        remove_tags=[tag["tagName"] for tag in change.get("tagsToDelete") or ()],
    )
    if change.get("aliases") is not None:
        _replace_aliases(context, changed, _aliases(change))
    return {"artifact": changed}


@resolvers.mutation("deleteArtifact")
def delete_artifact(context: Context, deletion: dict[str, Any]) -> dict[str, Any]:
    artifact = require_artifact(context, deletion["artifactID"])
    context.store.artifacts.delete(artifact, with_aliases=bool(deletion.get("deleteAliases")))
    return {"artifact": artifact}


@resolvers.mutation("linkArtifact")
def link_artifact(context: Context, link: dict[str, Any]) -> dict[str, Any]:
    if link.get("artifactID"):
        artifact = require_artifact(context, link["artifactID"])
    else:
        found = context.store.artifacts.by_client_id(link.get("clientID") or "")
        if found is None:
            raise RefusedError("the artifact to link was not found", 404)
        artifact = require_artifact(context, ids.encode("Artifact", found.id))
    if link.get("artifactPortfolioID"):
        portfolio = require_collection(context, link["artifactPortfolioID"])
    else:
        project, _ = ensure_project(context, link.get("projectName"), link.get("entityName"))
        type_name = sequence_of(context, artifact).type_name
        name = link.get("artifactPortfolioName") or ""
        portfolio = context.store.collections.ensure(project, name, type_name, "PORTFOLIO")
    member = context.store.artifacts.link(artifact, portfolio, _aliases(link))
    return {"versionIndex": member.version, "artifactMembership": member}


@resolvers.mutation("unlinkArtifact")
def unlink_artifact(context: Context, link: dict[str, Any]) -> dict[str, Any]:
    artifact = require_artifact(context, link["artifactID"])
    portfolio = require_collection(context, link["artifactPortfolioID"])
    if portfolio.kind != "PORTFOLIO":
        raise RefusedError("a version cannot be unlinked from the collection it was made in")
    context.store.artifacts.unlink(artifact, portfolio)
    return {"success": True}


@resolvers.mutation("addAliases")
def add_aliases(context: Context, change: dict[str, Any]) -> dict[str, Any]:
    artifact = require_artifact(context, change["artifactID"])
    for alias in change["aliases"]:
        collection = _named_collection(context, alias)
        context.store.collections.add_alias(collection, artifact.id, alias["alias"])
    return {"success": True}


@resolvers.mutation("deleteAliases")
def delete_aliases(context: Context, change: dict[str, Any]) -> dict[str, Any]:
    artifact = require_artifact(context, change["artifactID"])
    for alias in change["aliases"]:
        collection = _named_collection(context, alias)
        context.store.collections.delete_alias(collection, artifact.id, alias["alias"])
    return {"success": True}


@resolvers.mutation("updateArtifactSequence")
def update_sequence(context: Context, change: dict[str, Any]) -> dict[str, Any]:
    return _change_collection(context, change["artifactSequenceID"], change)


@resolvers.mutation("updateArtifactPortfolio")
def update_portfolio(context: Context, change: dict[str, Any]) -> dict[str, Any]:
    return _change_collection(context, change["artifactPortfolioID"], change)


@resolvers.mutation("moveArtifactSequence")
def move_sequence(context: Context, move: dict[str, Any]) -> dict[str, Any]:
    collection = require_collection(context, move["artifactSequenceID"])
    moved = context.store.collections.change(
        collection.id, type_name=move["destinationArtifactTypeName"]
    )
    return {"artifactCollection": moved}


@resolvers.mutation("deleteArtifactSequence")
def delete_sequence(context: Context, deletion: dict[str, Any]) -> dict[str, Any]:
    return _delete_collection(context, deletion["artifactSequenceID"])


@resolvers.mutation("deleteArtifactPortfolio")
def delete_portfolio(context: Context, deletion: dict[str, Any]) -> dict[str, Any]:
    return _delete_collection(context, deletion["artifactPortfolioID"])


@resolvers.mutation("createArtifactCollectionTagAssignments")
def add_collection_tags(context: Context, change: dict[str, Any]) -> dict[str, Any]:
    collection = _named_collection(context, change)
    names = [tag["tagName"] for tag in change["tags"]]
    tags = context.store.collections.change_tags(collection, add=names)
    return {"tags": [tag for tag in tags if tag.name in names]}


@resolvers.mutation("deleteArtifactCollectionTagAssignments")
def delete_collection_tags(context: Context, change: dict[str, Any]) -> dict[str, Any]:
    collection = _named_collection(context, change)
    names = [tag["tagName"] for tag in change["tags"]]
    context.store.collections.change_tags(collection, remove=names)
    return {"success": True}


def _aliases(change: dict[str, Any]) -> tuple[str, ...]:
    return tuple(alias["alias"] for alias in change.get("aliases") or ())


def _replace_aliases(context: Context, artifact: Artifact, wanted: tuple[str, ...]) -> None:
    collection = sequence_of(context, artifact)
    for member in context.store.artifacts.memberships(artifact.id):
        for alias in context.store.collections.aliases(collection.id, member.id):
            if alias.name not in wanted:
                context.store.collections.delete_alias(collection, artifact.id, alias.name)
    for name in wanted:
        context.store.collections.add_alias(collection, artifact.id, name)


def _require_manifest(context: Context, manifest_id: str) -> Manifest:
    manifest = context.store.manifests.get(ids.row_id("Manifest", manifest_id))
    if manifest is None:
        raise RefusedError("manifest not found", 404)
    require_artifact(context, ids.encode("Artifact", manifest.artifact_id))
    return manifest


def _named_collection(context: Context, named: dict[str, Any]) -> Collection:
    project = require_project(context, named["projectName"], named["entityName"])
    name = named["artifactCollectionName"].partition(":")[0]
    collection = context.store.collections.get(project.id, name)
    if collection is None:
        raise RefusedError(f"artifact collection {name!r} not found", 404)
    return collection


def _change_collection(
    context: Context, collection_id: str, change: dict[str, Any]
) -> dict[str, Any]:
    collection = require_collection(context, collection_id)
    changed = context.store.collections.change(
        collection.id, name=change.get("name"), description=change.get("description")
    )
    return {"artifactCollection": changed}


def _delete_collection(context: Context, collection_id: str) -> dict[str, Any]:
    collection = require_collection(context, collection_id)
    context.store.collections.delete(collection.id)
    return {"artifactCollection": _Deleted(collection.kind)}
