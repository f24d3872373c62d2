"""Mutations of artifacts and collections: use, link, rename, tag, delete."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any

from aiowandb_server.errors import RequestError
from aiowandb_server.graphql.accounts import require_led_entity
from aiowandb_server.graphql.artifact_uploads import alias_names
from aiowandb_server.graphql.artifacts import (
    artifact_by_client_id,
    project_of_version,
    require_artifact,
    require_readable_artifact,
    sequence_of,
)
from aiowandb_server.graphql.collections import require_collection
from aiowandb_server.graphql.projects import ensure_project, require_project
from aiowandb_server.graphql.resolving import Resolvers
from aiowandb_server.graphql.runs import require_run
from aiowandb_server.store.artifact_records import CollectionRow

if TYPE_CHECKING:
    from aiowandb_server.graphql.context import Context
    from aiowandb_server.store.artifact_records import ArtifactRow
    from aiowandb_server.store.records import ProjectRow

resolvers = Resolvers()


@dataclass(frozen=True, slots=True)
class _Deleted(CollectionRow):
    """A collection that has just been deleted, as its mutation returns it."""

    state: str = "DELETED"


@resolvers.mutation("useArtifact")
def use_artifact(context: Context, use: dict[str, Any]) -> dict[str, Any]:
    run = require_run(context, use["runName"], use["projectName"], use["entityName"])
    artifact = require_readable_artifact(context, use["artifactID"])
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
        _replace_aliases(context, changed, alias_names(change))
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
        found = artifact_by_client_id(context, link.get("clientID") or "")
        if found is None:
            raise RequestError("the artifact to link was not found", 404)
        artifact = found
    if link.get("artifactPortfolioID"):
        portfolio = require_collection(context, link["artifactPortfolioID"])
        _require_sharing(context, artifact, context.store.projects.by_id(portfolio.project_id))
    else:
        project, _ = ensure_project(context, link.get("projectName"), link.get("entityName"))
        _require_sharing(context, artifact, project)
        type_name = sequence_of(context, artifact).type_name
        name = link.get("artifactPortfolioName") or ""
        portfolio = context.store.collections.ensure(project, name, type_name, "PORTFOLIO")
    member = context.store.artifacts.link(artifact, portfolio, alias_names(link))
    return {"versionIndex": member.version, "artifactMembership": member}


@resolvers.mutation("unlinkArtifact")
def unlink_artifact(context: Context, link: dict[str, Any]) -> dict[str, Any]:
    artifact = require_artifact(context, link["artifactID"])
    portfolio = require_collection(context, link["artifactPortfolioID"])
    if portfolio.kind != "PORTFOLIO":
        raise RequestError("a version cannot be unlinked from the collection it was made in")
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
    names = dict.fromkeys(tag["tagName"] for tag in change["tags"])
    tags = context.store.collections.change_tags(collection, add=list(names))
    return {"tags": [tag for tag in tags if tag.name in names]}


@resolvers.mutation("deleteArtifactCollectionTagAssignments")
def delete_collection_tags(context: Context, change: dict[str, Any]) -> dict[str, Any]:
    collection = _named_collection(context, change)
    names = [tag["tagName"] for tag in change["tags"]]
    context.store.collections.change_tags(collection, remove=names)
    return {"success": True}


def _require_sharing(context: Context, artifact: ArtifactRow, target: ProjectRow | None) -> None:
    """A link shares the version with all who see the target, also with those who have left the
    version's team: as for invitations, that is for the team's administrators to decide."""
    owner = project_of_version(context, artifact).entity
    if target is None or target.entity != owner:
        require_led_entity(context, owner)


def _replace_aliases(context: Context, artifact: ArtifactRow, wanted: tuple[str, ...]) -> None:
    collection = sequence_of(context, artifact)
    kept = set(wanted)
    for member in context.store.artifacts.memberships(artifact.id):
        for alias in context.store.collections.aliases(collection.id, member.id):
            if alias.name not in kept:
                context.store.collections.delete_alias(collection, artifact.id, alias.name)
    for name in wanted:
        context.store.collections.add_alias(collection, artifact.id, name)


def _named_collection(context: Context, named: dict[str, Any]) -> CollectionRow:
    project = require_project(context, named["projectName"], named["entityName"])
    name = named["artifactCollectionName"].partition(":")[0]
    collection = context.store.collections.get(project.id, name)
    if collection is None:
        raise RequestError(f"artifact collection {name!r} not found", 404)
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
    return {"artifactCollection": _Deleted(*astuple(collection))}
