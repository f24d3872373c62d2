"""Projects: find, list, create; and queries for their reports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiowandb_server.errors import RequestError
from aiowandb_server.graphql.resolving import Resolvers, connection, page_size
from aiowandb_server.graphql.scalars import encode_id, row_id

if TYPE_CHECKING:
    from aiowandb_server.graphql.context import Context
    from aiowandb_server.store.records import Entity, ProjectRow, UserRow
    from aiowandb_server.store.reports import Report

resolvers = Resolvers()

# The project of runs for which the user has not set one, as in the SDK.
_DEFAULT_PROJECT = "uncategorized"


def find_project(context: Context, name: str | None, entity: str | None) -> ProjectRow | None:
    """The project, or None if it does not exist or the viewer may not see it."""
    owner = context.entity_name(entity)
    if not context.may_see(owner):
        return None
    return context.store.projects.get(owner, name or _DEFAULT_PROJECT)


def require_project(context: Context, name: str | None, entity: str | None) -> ProjectRow:
    project = find_project(context, name, entity)
    if project is None:
        raise RequestError(f"project {context.entity_name(entity)}/{name} not found", 404)
    return project


def ensure_project(
    context: Context, name: str | None, entity: str | None, **properties: Any
) -> tuple[ProjectRow, bool]:
    """The project, which is created if necessary, and whether it was created."""
    owner = context.entity_name(entity)
    context.require(owner)
    if context.viewer.is_admin:
        context.store.accounts.ensure_entity(owner, is_team=True)
    return context.store.projects.ensure(
        owner, name or _DEFAULT_PROJECT, user_id=context.viewer.id, **properties
    )


@resolvers("Query", "project")
@resolvers("Query", "model")
def project(
    _: None, context: Context, name: str | None = None, entity_name: str | None = None
) -> ProjectRow | None:
    return find_project(context, name, entity_name)


@resolvers("Query", "models")
def models(
    _: None,
    context: Context,
    entity_name: str | None = None,
    after: str | None = None,
    first: int | None = None,
) -> Any:
    owner = context.entity_name(entity_name)
    if not context.may_see(owner):
        return connection([], [], has_next=False)
    page = context.store.projects.page(owner, first=page_size(first), after=after)
    return connection(page.items, page.cursors, has_next=page.has_next)


@resolvers.mutation("upsertModel")
def upsert_model(context: Context, model: dict[str, Any]) -> dict[str, Any]:
    made, inserted = ensure_project(
        context,
        model.get("name"),
        model.get("entityName"),
        description=model.get("description"),
        access=model.get("access"),
    )
    return {"project": made, "model": made, "inserted": inserted}


@resolvers.mutation("deleteModel")
def delete_model(context: Context, deletion: dict[str, Any]) -> dict[str, Any]:
    doomed = context.store.projects.by_id(row_id("Project", deletion["id"]))
    if doomed is None or not context.may_see(doomed.entity):
        raise RequestError("project not found", 404)
    context.store.projects.delete(doomed.id)
    return {"success": True}


@resolvers("Project", "entity")
def owner(project: ProjectRow, context: Context) -> Entity | None:
    return context.store.accounts.entity(project.entity)


@resolvers("Project", "user")
def author(project: ProjectRow, context: Context) -> UserRow | None:
    return context.user(project.user_id)


resolvers.fields(
    "Project",
    id=lambda project: encode_id("Project", project.id),
    internalId=lambda project: str(project.id),
    entityName=lambda project: project.entity,
    isBenchmark=lambda _: False,
    readOnly=lambda _: False,
)


@resolvers("Project", "allViews")
def all_views(
    project: ProjectRow,
    context: Context,
    view_type: str | None = None,
    view_name: str | None = None,
    first: int | None = None,
    after: str | None = None,
) -> Any:
    if view_type not in (None, "runs"):
        return connection([], [], has_next=False)
    page = context.store.reports.page(project, name=view_name, first=page_size(first), after=after)
    return connection(page.items, page.cursors, has_next=page.has_next)


@resolvers("View", "user")
def report_author(report: Report, context: Context) -> UserRow | None:
    return context.user(report.user_id)


resolvers.fields("View", id=lambda report: encode_id("View", report.id))
