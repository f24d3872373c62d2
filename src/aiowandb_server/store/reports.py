"""Reports of a project. The API only reads them; they are added from Python."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiowandb_server.store.ordering import number_of
from aiowandb_server.store.records import ListPage

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiowandb_server.store.database import Database
    from aiowandb_server.store.records import ProjectRow


@dataclass(frozen=True, slots=True)
class Report:
    """`spec` is the report's content as JSON text."""

    id: int
    project_id: int
    name: str
    display_name: str
    description: str | None
    user_id: int | None
    spec: str
    created_at: int
    updated_at: int


class Reports:
    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock

    def add(
        self,
        project: ProjectRow,
        title: str,
        *,
        spec: str = "{}",
        description: str | None = None,
        user_id: int | None = None,
    ) -> Report:
        now = int(self._clock())
        with self._database.write() as connection:
            row = connection.execute(
                """
                INSERT INTO report (project_id, name, display_name, description, user_id, spec,
                                    created_at, updated_at)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING *
                """,
                (project.id, secrets.token_hex(6), title, description, user_id, spec, now, now),
            ).fetchone()
        return Report(*row)

    def page(
        self,
        project: ProjectRow,
        *,
        name: str | None = None,
        first: int = 50,
        after: str | None = None,
    ) -> ListPage[Report]:
        """Newest first; with `name`, only the report with that name or title."""
        before = 2**62 if (start := number_of(after)) is None else start
        with self._database.read() as connection:
            rows = connection.execute(
                """
                SELECT * FROM report WHERE id IN (
                    -- Reports have any size: only ids are sorted.
                    SELECT id FROM report
                    WHERE project_id = ? AND id < ? AND (? IS NULL OR ? IN (name, display_name))
                    ORDER BY id DESC LIMIT ?
                ) ORDER BY id DESC
                """,
                (project.id, before, name, name, first + 1),
            ).fetchall()
        reports = [Report(*row) for row in rows[:first]]
        return ListPage(reports, [str(report.id) for report in reports], len(rows) > first)
