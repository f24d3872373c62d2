"""`Runs`: the runs of a project, read page by page, and their export."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiowandb.api.defaults import Defaults
from aiowandb.api.run import Run
from aiowandb.errors import NotFoundError, UsageError
from aiowandb.net import Session
from aiowandb.wire.runs import count_runs, list_runs

if TYPE_CHECKING:
    from aiowandb.export import ExportResult, Format


class Runs:
    """The runs that a query finds. Nothing is sent until they are iterated or counted."""

    def __init__(
        self,
        session: Session,
        defaults: Defaults,
        path: str | None,
        filters: Mapping[str, Any],
        order: str,
        per_page: int,
    ) -> None:
        if per_page < 1:
            raise UsageError(f"per_page must be at least 1, not {per_page}.")
        self._session = session
        self._defaults = defaults
        self._path = path
        self._filters = filters
        self._order = order
        self._per_page = per_page

    async def __aiter__(self) -> AsyncIterator[Run]:
        async with aclosing(self.pages()) as pages:
            async for page in pages:
                for run in page:
                    yield run

    async def pages(self) -> AsyncGenerator[list[Run]]:
        """The runs as they come from W&B, `per_page` at a time."""
        entity, project = await self._defaults.project(self._path)
        cursor: str | None = None
        while True:
            query = list_runs(
                entity,
                project,
                filters=self._filters,
                order=self._order,
                per_page=self._per_page,
                cursor=cursor,
            )
            found = (await self._session.ask(query)).project
            if found is None:
                raise _no_project(entity, project)
            edges = found.runs.edges
            if edges:
                yield [Run.of(edge.node, self._session, entity, project) for edge in edges]
            if not edges or not found.runs.page_info.has_next_page:
                return
            cursor = edges[-1].cursor

    async def count(self) -> int:
        """How many runs there are."""
        entity, project = await self._defaults.project(self._path)
        found = (await self._session.ask(count_runs(entity, project, self._filters))).project
        if found is None:
            raise _no_project(entity, project)
        return found.run_count

    async def export(self, folder: str | Path, *, format: Format = "parquet") -> ExportResult:
        """Write these runs and their whole histories into a folder.

        `runs.<format>` has one row a run; the history has all rows of all runs, with
        `run_id` and `_step` first: the Parquet dataset `history/`, or `history.csv`.
        A file appears whole or not at all.

        >>> result = await api.runs("entity/project").export("out", format="parquet")
        >>> result.rows
        """
        from aiowandb.export import export_runs

        async with aclosing(self.pages()) as pages:
            return await export_runs(self._session, pages, folder, format)


def _no_project(entity: str, project: str) -> NotFoundError:
    return NotFoundError(f"Could not find project {entity}/{project}.", operation="Runs")
