"""Reports of a project, to be read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiowandb.local.graphql import ids
from aiowandb.local.graphql.resolving import Resolvers, connection, page_size

if TYPE_CHECKING:
    from aiowandb.local.graphql.context import Context
    from aiowandb.local.store.records import Project, User
    from aiowandb.local.store.reports import Report

resolvers = Resolvers()


@resolvers("Project", "allViews")
def all_views(
    project: Project,
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
def author(report: Report, context: Context) -> User | None:
    return context.user(report.user_id)


resolvers.fields("View", id=lambda report: ids.encode("View", report.id))
