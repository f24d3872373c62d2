"""Projects: create, list by entity, delete."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiowandb_server.errors import RequestError
from aiowandb_server.store.deleting import IS_KEPT, delete_project
from aiowandb_server.store.ordering import number_of
from aiowandb_server.store.records import ListPage, ProjectRow
from aiowandb_server.text_limits import MAX_PROJECT_NAME, check_path_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiowandb_server.store.database import Database

_PROJECT = f"""
    SELECT project.id, entity.name, project.name, description, access, user_id,
           project.created_at, run_count
    FROM project JOIN entity ON entity.id = project.entity_id AND {IS_KEPT}
"""  # noqa: S608 - a constant


class ProjectTable:
    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock

    def ensure(
        self,
        entity: str,
        name: str,
        *,
        user_id: int | None = None,
        description: str | None = None,
        access: str | None = None,
    ) -> tuple[ProjectRow, bool]:
        """The project of that name, and whether it was created now. The entity must exist."""
        known = self.get(entity, name)
        if known and description is None and access is None:
            return known, False
        if not known:
            check_path_name("project", name, MAX_PROJECT_NAME, "/\\#?%:")
        with self._database.write(repeatable=True) as connection:
            cursor = connection.execute(
                """
                INSERT INTO project (entity_id, name, user_id, created_at)
                SELECT id, ?, ?, ? FROM entity WHERE name = ? ON CONFLICT DO NOTHING
                """,
                (name, user_id, int(self._clock()), entity),
            )
            connection.execute(
                """
                UPDATE project SET description = ifnull(?, description), access = ifnull(?, access)
                WHERE name = ? AND entity_id = (SELECT id FROM entity WHERE name = ?)
                """,
                (description, access, name, entity),
            )
        project = self.get(entity, name)
        if project is None:
            raise RequestError(f"cannot create the project {name!r}: no entity {entity!r}")
        return project, cursor.rowcount > 0

    def get(self, entity: str, name: str) -> ProjectRow | None:
        with self._database.read() as connection:
            row = connection.execute(
                f"{_PROJECT} WHERE entity.name = ? AND project.name = ?", (entity, name)
            ).fetchone()
        return ProjectRow(*row) if row else None

    def by_id(self, project_id: int) -> ProjectRow | None:
        with self._database.read() as connection:
            row = connection.execute(f"{_PROJECT} WHERE project.id = ?", (project_id,)).fetchone()
        return ProjectRow(*row) if row else None

    def page(self, entity: str, *, first: int, after: str | None = None) -> ListPage[ProjectRow]:
        """Newest first, as in W&B."""
        with self._database.read() as connection:
            rows = connection.execute(
                f"""
                {_PROJECT} WHERE entity.name = ? AND project.id < ?
                ORDER BY project.id DESC LIMIT ?
                """,
                (entity, 2**62 if (before := number_of(after)) is None else before, first + 1),
            ).fetchall()
        projects = [ProjectRow(*row) for row in rows[:first]]
        return ListPage(projects, [str(project.id) for project in projects], len(rows) > first)

    def delete(self, project_id: int) -> None:
        """Delete the project and everything in it."""
        delete_project(self._database, project_id)
