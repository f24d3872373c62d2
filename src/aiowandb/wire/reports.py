"""The query of a project's reports, which W&B calls views."""

from __future__ import annotations

from datetime import datetime

import msgspec

from aiowandb.wire.connection import Connection
from aiowandb.wire.graphql import Operation
from aiowandb.wire.lenient import as_utc
from aiowandb.wire.record import User

_REPORTS = """
query ProjectViews($entity: String!, $project: String!, $perPage: Int!, $cursor: String) {
  project(name: $project, entityName: $entity) {
    allViews(viewType: "runs", first: $perPage, after: $cursor) {
      edges {
        node { id name displayName description user { username } spec createdAt updatedAt }
        cursor
      }
      pageInfo { endCursor hasNextPage }
    }
  }
}"""


class ReportRecord(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A report. `name` identifies it in the project, `spec` is its content as JSON text."""

    id: str
    name: str
    display_name: str | None = None
    description: str | None = None
    user: User | None = None
    spec: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "created_at", as_utc(self.created_at))
        msgspec.structs.force_setattr(self, "updated_at", as_utc(self.updated_at))


def list_reports(
    entity: str, project: str, per_page: int, cursor: str | None
) -> Operation[Connection[ReportRecord] | None]:
    """A page of a project's reports, the newest first."""
    variables = {"entity": entity, "project": project, "perPage": per_page, "cursor": cursor}
    path = ("project?", "allViews?")
    return Operation("ProjectViews", _REPORTS, variables, Connection[ReportRecord], at=path)
