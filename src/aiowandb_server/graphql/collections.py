"""Queries for artifact types and collections."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aiowandb_server.errors import RequestError
from aiowandb_server.graphql.resolving import Resolvers, connection, page_size, unpaged
from aiowandb_server.graphql.runs import parse_filters
from aiowandb_server.graphql.scalars import encode_id, row_id
from aiowandb_server.store.artifact_records import ArtifactType

if TYPE_CHECKING:
    from aiowandb_server.graphql.context import Context
    from aiowandb_server.store.artifact_records import (
        AliasRow,
        ArtifactRow,
        CollectionRow,
        MembershipRow,
    )
    from aiowandb_server.store.records import ProjectRow

resolvers = Resolvers()

# No row has this id, so that nothing is found in what has it.
_HIDDEN = 0
# Both kinds of collections have the same fields.
_COLLECTION = ("ArtifactSequence", "ArtifactPortfolio")


def find_member(context: Context, project: ProjectRow, name: str) -> MembershipRow | None:
    """The version that `collection:alias` refers to; without an alias, the latest one."""
    collection_name, _, alias = name.partition(":")
    collection = context.store.collections.get(project.id, collection_name)
    if collection is None:
        return None
    return context.store.collections.membership(collection.id, alias or "latest")


@resolvers("Query", "artifactCollection")
def collection_by_id(
    _: None,
    context: Context,
    id: str,
) -> CollectionRow | None:
    return find_collection(context, id)


def find_collection(context: Context, collection_id: str) -> CollectionRow | None:
    """The collection with this id, or None if it does not exist or the viewer may not see it."""
    return visible_collection(context, row_id("ArtifactCollection", collection_id))


def visible_collection(context: Context, collection_id: int) -> CollectionRow | None:
    found = context.store.collections.by_id(collection_id)
    return found if found and context.may_see_project(found.project_id) else None


def source_collection(context: Context, collection: CollectionRow) -> CollectionRow:
    """The collection that a version comes from, as the viewer may see it.

    A version that was linked into a collection of a team is shared, and the project that it comes
    from is not: of that, only the names of the collection and of its type are left.
    """
    if context.may_see_project(collection.project_id):
        return collection
    return replace(collection, id=_HIDDEN, project_id=_HIDDEN, type_id=_HIDDEN, description=None)


@resolvers("Project", "artifactCollectionMembership")
def member_by_name(project: ProjectRow, context: Context, name: str) -> MembershipRow | None:
    return find_member(context, project, name)


@resolvers("Project", "artifactCollection")
def collection_by_name(project: ProjectRow, context: Context, name: str) -> CollectionRow | None:
    return context.store.collections.get(project.id, name)


@resolvers("Project", "artifactTypes")
def artifact_types(
    project: ProjectRow, context: Context, first: int | None = None, after: str | None = None
) -> Any:
    page = context.store.collections.page_of_types(project.id, first=page_size(first), after=after)
    return connection(page.items, page.cursors, has_next=page.has_next)


@resolvers("Project", "artifactType")
def artifact_type(project: ProjectRow, context: Context, name: str) -> ArtifactType | None:
    types = context.store.collections.types(project.id)
    return next((found for found in types if found.name == name), None)


@resolvers("Project", "artifactCollections")
def collections_of_project(project: ProjectRow, context: Context, **page: Any) -> Any:
    return _collections(context, project.id, None, **page)


@resolvers("ArtifactType", "artifactCollections")
def collections_of_type(kind: ArtifactType, context: Context, **page: Any) -> Any:
    return _collections(context, kind.project_id, kind.id, **page)


@resolvers("ArtifactType", "artifactCollection")
def collection_of_type(kind: ArtifactType, context: Context, name: str) -> CollectionRow | None:
    found = context.store.collections.get(kind.project_id, name)
    return found if found and found.type_id == kind.id else None


@resolvers(_COLLECTION, "project")
def project_of(collection: CollectionRow, context: Context) -> ProjectRow | None:
    return context.store.projects.by_id(collection.project_id)


@resolvers(_COLLECTION, "defaultArtifactType")
def default_type(collection: CollectionRow, context: Context) -> ArtifactType:
    if collection.project_id == _HIDDEN:
        return ArtifactType(_HIDDEN, _HIDDEN, collection.type_name, None, collection.created_at)
    types = context.store.collections.types(collection.project_id)
    found = next((found for found in types if found.id == collection.type_id), None)
    if found is None:
        raise RequestError("the project of this artifact has been deleted", 404)
    return found


@resolvers(_COLLECTION, "tags")
def tags_of_collection(collection: CollectionRow, context: Context) -> Any:
    return unpaged(context.store.collections.tags(collection.id))


@resolvers(_COLLECTION, "aliases")
def aliases_of_collection(collection: CollectionRow, context: Context, **_: Any) -> Any:
    return unpaged(context.store.collections.aliases(collection.id))


@resolvers(_COLLECTION, "artifactMembership")
def member(collection: CollectionRow, context: Context, alias_name: str) -> MembershipRow | None:
    return context.store.collections.membership(collection.id, alias_name)


@resolvers(_COLLECTION, "artifacts")
def versions(
    collection: CollectionRow,
    context: Context,
    after: str | None = None,
    first: int | None = None,
    order: str | None = None,
    filters: str | None = None,
) -> Any:
    state = (parse_filters(filters, context) or {}).get("state")
    artifacts = context.store.artifacts
    page = artifacts.members(
        collection.id,
        state=state if isinstance(state, str) else None,
        ascending=(order or "").startswith("+"),
        first=page_size(first),
        after=after,
    )
    edges = [
        {
            "version": f"v{found.version}",
            "node": artifacts.by_id(found.artifact_id),
            "cursor": cursor,
        }
        for found, cursor in zip(page.items, page.cursors, strict=True)
    ]
    end = page.cursors[-1] if page.cursors else None
    return {
        "edges": edges,
        "pageInfo": {"endCursor": end, "hasNextPage": page.has_next},
        "totalCount": lambda: artifacts.count_members(collection.id, state),
    }


@resolvers("ArtifactSequence", "latestArtifact")
def latest_artifact(collection: CollectionRow, context: Context) -> ArtifactRow | None:
    return context.store.artifacts.latest(collection.id)


@resolvers("ArtifactSequence", "digestAlgorithm")
def digest_algorithm(collection: CollectionRow, context: Context) -> str | None:
    return context.store.artifacts.digest_algorithm(collection.id)


@resolvers("ArtifactAlias", "artifactCollection")
def collection_of_alias(alias: AliasRow, context: Context) -> CollectionRow | None:
    return visible_collection(context, alias.collection_id)


@resolvers("ArtifactCollectionMembership", "aliases")
def aliases_of_member(member: MembershipRow, context: Context) -> list[AliasRow]:
    return context.store.collections.aliases(member.collection_id, member.id)


@resolvers("ArtifactCollectionMembership", "artifactCollection")
def collection_of_member(member: MembershipRow, context: Context) -> CollectionRow | None:
    return visible_collection(context, member.collection_id)


@resolvers("ArtifactCollectionMembership", "artifact")
def artifact_of_member(member: MembershipRow, context: Context) -> ArtifactRow | None:
    return context.store.artifacts.by_id(member.artifact_id)


def _collections(
    context: Context,
    project_id: int,
    type_id: int | None,
    *,
    filters: str | None = None,
    order: str | None = None,
    first: int | None = None,
    after: str | None = None,
) -> Any:
    store = context.store.collections
    selected = parse_filters(filters, context)
    page = store.page(
        project_id, type_id, filters=selected, order=order, first=page_size(first), after=after
    )
    return connection(
        page.items,
        page.cursors,
        has_next=page.has_next,
        totalCount=lambda: store.count(project_id, type_id, selected),
    )


def require_collection(context: Context, collection_id: str) -> CollectionRow:
    """The collection with this id; a 404 if it does not exist or the viewer may not see it."""
    collection = find_collection(context, collection_id)
    if collection is None:
        raise RequestError("artifact collection not found", 404)
    return collection


resolvers.fields(
    "ArtifactType", id=lambda artifact_type: encode_id("ArtifactType", artifact_type.id)
)
for _kind in _COLLECTION:
    resolvers.fields(
        _kind,
        id=lambda collection: encode_id("ArtifactCollection", collection.id),
        state=lambda collection: getattr(collection, "state", "READY"),
    )
resolvers.fields(
    "ArtifactAlias",
    id=lambda alias: encode_id("ArtifactAlias", alias.id),
    alias=lambda alias: alias.name,
)
resolvers.fields("Tag", id=lambda tag: encode_id("Tag", tag.id))
resolvers.fields(
    "ArtifactCollectionMembership",
    id=lambda member: encode_id("ArtifactCollectionMembership", member.id),
    versionIndex=lambda member: member.version,
)
