"""`Project` and `Projects`: they contain runs and sweeps."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping
from contextlib import aclosing
from typing import Any

from aiowandb.api.defaults import Defaults
from aiowandb.api.listing import Listing
from aiowandb.api.runs import Runs
from aiowandb.api.sweeps import Sweeps
from aiowandb.arguments import FILTERS, FLAG, checks, choices, integer, optional, text
from aiowandb.choices import RunField
from aiowandb.config.settings import app_url
from aiowandb.errors import NotFoundError
from aiowandb.fields import ProjectFields, RecordHolder
from aiowandb.net import Session
from aiowandb.net.paging import pages_of
from aiowandb.wire.connection import Connection
from aiowandb.wire.projects import ProjectRecord, get_project, list_projects
from aiowandb.wire.record import ALL_FIELDS


class Project(ProjectFields, RecordHolder[ProjectRecord]):
    """A project.

    >>> project = await api.project("mnist", entity="me")
    >>> async for sweep in project.sweeps():
    ...     print(sweep.name)
    """

    def __init__(self, record: ProjectRecord, session: Session) -> None:
        super().__init__(record)
        self._session = session

    @property
    def url(self) -> str:
        """The web page of the project."""
        return f"{app_url(self._session.settings.base_url)}/{self.entity}/{self.name}/workspace"

    @checks(
        filters=optional(FILTERS),
        order=optional(text("an order like '-created_at'", empty=True)),
        per_page=integer(1),
        include=choices(RunField),
        fresh=FLAG,
        start=optional(text("a cursor")),
    )
    def runs(
        self,
        filters: Mapping[str, Any] | None = None,
        order: str | None = "-created_at",
        per_page: int = 50,
        include: Collection[RunField] = ALL_FIELDS,
        *,
        fresh: bool = False,
        start: str | None = None,
    ) -> Runs:
        """The runs of the project, as `api.runs()` returns them."""
        query = (f"{self.entity}/{self.name}", filters, order, per_page, include)
        session = self._session
        return Runs(session, Defaults(session), *query, fresh=fresh, start=start)

    @checks(per_page=integer(1), filters=optional(FILTERS), fresh=FLAG)
    def sweeps(
        self,
        per_page: int = 50,
        filters: Mapping[str, Any] | None = None,
        *,
        fresh: bool = False,
    ) -> Sweeps:
        """The sweeps of the project, newest first. Cached unless `fresh`.

        `filters` are over `name`, `displayName`, `description`, `state`, `createdAt` and
        `updatedAt`; W&B servers before 0.81.4 cannot filter sweeps, which is a UsageError.

        >>> running = project.sweeps(filters={"state": "RUNNING"})
        """
        return Sweeps(self._session, self.entity, self.name, per_page, filters, fresh=fresh)


class Projects(Listing[Project]):
    """The projects of an entity. Nothing is sent until the list is used.

    >>> async for project in api.projects("me"):
    ...     print(project.name, project.created_at)
    """

    def __init__(
        self,
        session: Session,
        entity: Callable[[], Awaitable[str]],
        per_page: int,
        *,
        fresh: bool = False,
    ) -> None:
        super().__init__(session)
        self._entity = entity
        self._per_page = per_page
        self._fresh = fresh

    @checks()
    async def count(self) -> int:
        """The number of items."""
        # W&B does not count them, so all have to be listed.
        async with aclosing(self._pages()) as pages:
            return sum([len(page) async for page in pages])

    async def _pages(self) -> AsyncGenerator[list[Project]]:
        entity = await self._entity()

        async def page(cursor: str | None) -> Connection[ProjectRecord]:
            asked = list_projects(entity, self._per_page, cursor)
            found = await self._session.ask_cached(asked, fresh=self._fresh)
            return found or Connection()

        async with aclosing(pages_of(f"the projects of {entity}", page)) as pages:
            async for records in pages:
                yield [Project(record, self._session) for record in records]


async def find_project(session: Session, entity: str, name: str, *, fresh: bool = False) -> Project:
    """The project with this name."""
    record = await session.ask_cached(get_project(entity, name), fresh=fresh)
    if record is None:
        raise NotFoundError(f"Could not find project {entity}/{name}.", operation="GetProject")
    return Project(record, session)
