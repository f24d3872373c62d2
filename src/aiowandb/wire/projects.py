"""Queries of projects: one, or those of an entity."""

from __future__ import annotations

from datetime import datetime

import msgspec

from aiowandb.wire.connection import Connection
from aiowandb.wire.graphql import Operation, ProjectName
from aiowandb.wire.lenient import as_utc

_PROJECT = """
query GetProject($entity: String!, $project: String!) {
  project(name: $project, entityName: $entity) { id name entityName createdAt }
}"""

_NAME = """
query ProjectName($entity: String!, $name: String!) {
  project(name: $name, entityName: $entity) { id name entityName }
}"""

_PROJECTS = """
query GetProjects($entity: String, $perPage: Int, $cursor: String) {
  models(entityName: $entity, first: $perPage, after: $cursor) {
    edges { node { id name entityName createdAt } }
    pageInfo { endCursor hasNextPage }
  }
}"""


class ProjectRecord(msgspec.Struct, frozen=True, kw_only=True, dict=True, rename="camel"):
    """A project."""

    id: str
    name: str
    entity: str = msgspec.field(name="entityName")
    created_at: datetime | None = None

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "created_at", as_utc(self.created_at))

    @property
    def path(self) -> list[str]:
        """Entity and name."""
        return [self.entity, self.name]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.entity}/{self.name}>"


def get_project(entity: str, name: str) -> Operation[ProjectRecord | None]:
    variables = {"entity": entity, "project": name}
    return Operation("GetProject", _PROJECT, variables, ProjectRecord, at=("project?",))


def project_name(entity: str, project: str) -> Operation[ProjectRecord | None]:
    """What a project is called that is found by these names."""
    variables = {"entity": entity, "name": project}
    return Operation("ProjectName", _NAME, variables, ProjectRecord, at=("project?",))


def list_projects(
    entity: str, per_page: int, cursor: str | None
) -> Operation[Connection[ProjectRecord] | None]:
    """A page of an entity's projects."""
    variables = {"entity": entity, "perPage": per_page, "cursor": cursor}

    def projects(page: Connection[ProjectRecord]) -> list[tuple[ProjectName, ProjectName]]:
        return [
            (ProjectName(entity, found.name), ProjectName(found.entity, found.name))
            for found in page.nodes
        ]

    page = Connection[ProjectRecord]
    return Operation("GetProjects", _PROJECTS, variables, page, ("models?",), projects=projects)
