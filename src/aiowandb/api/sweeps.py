"""`Sweep` and `Sweeps`: hyperparameter searches and their runs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from msgspec.structs import replace

from aiowandb.api.defaults import Defaults
from aiowandb.api.listing import Listing
from aiowandb.api.run import Run
from aiowandb.api.runs import Runs
from aiowandb.arguments import FLAG, VALUES, checks, optional, text
from aiowandb.config.settings import app_url
from aiowandb.errors import NotFoundError, UsageError
from aiowandb.fields import RecordHolder, SweepFields
from aiowandb.net import Session
from aiowandb.net.paging import pages_of
from aiowandb.net.session import supports
from aiowandb.paths import RunRef
from aiowandb.wire.connection import Connection
from aiowandb.wire.record import ALL_FIELDS
from aiowandb.wire.sweeps import (
    SweepAgent,
    SweepRecord,
    SweepsPage,
    enqueue_sweep_run,
    get_sweep,
    list_sweeps,
    order_key,
    sweep_agents,
)


class Sweep(SweepFields, RecordHolder[SweepRecord]):
    """A sweep.

    >>> sweep = await api.sweep("entity/project/sweep_id")
    >>> best = await sweep.best_run()
    """

    def __init__(self, record: SweepRecord, session: Session, entity: str, project: str) -> None:
        super().__init__(replace(record, entity=entity, project=project))
        self._session = session

    @property
    def url(self) -> str:
        """The web page of the sweep."""
        site = app_url(self._session.settings.base_url)
        return f"{site}/{self.entity}/{self.project}/sweeps/{self.id}"

    @property
    def runs(self) -> Runs:
        """The runs of the sweep, oldest first. Cached; while the sweep is running, use
        `api.runs(path, {"sweep": sweep.id}, fresh=True)`.
        """
        return self._runs("+created_at", 50)

    @checks(order=optional(text("an order like '-accuracy'")), fresh=FLAG)
    async def best_run(self, order: str | None = None, *, fresh: bool = False) -> Run | None:
        """The best run by the metric of the sweep's configuration, or by `order`.

        An order is `+name` if lower is better and `-name` if higher is; a name that is not a
        column is a metric. Without a metric, it is the newest run. None if there are no runs.
        Cached unless `fresh`.
        """
        wanted = self.order if order is None else order_key(order)
        try:
            return await self._runs(wanted or "-created_at", 1, fresh=fresh)[0]
        except IndexError:
            return None

    @checks()
    async def agents(self) -> list[SweepAgent]:
        """The agents that have run this sweep, oldest first. Never cached."""
        ref = RunRef(self.entity, self.project, self.id)
        found = await self._session.ask(sweep_agents(ref))
        if found is None:
            raise NotFoundError(f"Could not find sweep {ref}.", operation="GetSweepAgents")
        return found.nodes

    @checks(config=VALUES, display_name=optional(text("a name")))
    async def enqueue_run(self, config: Mapping[str, Any], display_name: str | None = None) -> str:
        """Add a run with this configuration, which is `pending` until an agent starts it.

        Returns the run's `id`. Raises UsageError if this W&B cannot do it.

        >>> await sweep.enqueue_run({"lr": 0.1}, display_name="by hand")
        """
        if not await supports(self._session, "SWEEPS_LOCAL_SCHEDULER"):
            raise UsageError("This W&B does not support enqueue_run(): its server is too old.")
        return await self._session.ask(enqueue_sweep_run(self.storage_id, config, display_name))

    def _runs(self, order: str, per_page: int, *, fresh: bool = False) -> Runs:
        session = self._session
        path, filters = f"{self.entity}/{self.project}", {"sweep": self.id}
        return Runs(
            session, Defaults(session), path, filters, order, per_page, ALL_FIELDS, fresh=fresh
        )


class Sweeps(Listing[Sweep]):
    """The sweeps of a project. Nothing is sent until the list is used.

    >>> async for sweep in project.sweeps():
    ...     print(sweep.name, sweep.state, sweep.run_count)
    """

    def __init__(
        self,
        session: Session,
        entity: str,
        project: str,
        per_page: int,
        filters: Mapping[str, Any] | None = None,
        *,
        fresh: bool = False,
    ) -> None:
        super().__init__(session)
        self._filters = filters
        self._entity = entity
        self._project = project
        self._per_page = per_page
        self._fresh = fresh

    @checks()
    async def count(self) -> int:
        """The number of items."""
        if self._filters:  # W&B only counts them all
            async with aclosing(self._pages()) as pages:
                return sum([len(page) async for page in pages])
        return (await self._ask(None)).total_sweeps

    async def _pages(self) -> AsyncGenerator[list[Sweep]]:
        async def page(cursor: str | None) -> Connection[SweepRecord]:
            return (await self._ask(cursor)).sweeps

        what = f"the sweeps of {self._entity}/{self._project}"
        async with aclosing(pages_of(what, page)) as pages:
            async for records in pages:
                yield [
                    Sweep(record, self._session, self._entity, self._project) for record in records
                ]

    async def _ask(self, cursor: str | None) -> SweepsPage:
        if self._filters and not await supports(self._session, "SWEEPS_QUERY_FILTERING"):
            raise UsageError("This W&B cannot filter sweeps: its server is older than 0.81.4.")
        asked = list_sweeps(self._entity, self._project, self._per_page, cursor, self._filters)
        page = await self._session.ask_cached(asked, fresh=self._fresh)
        if page is None:
            raise NotFoundError(f"Could not find project {self._entity}/{self._project}.")
        return page


async def find_sweep(session: Session, ref: RunRef, *, fresh: bool = False) -> Sweep:
    """The sweep with this path."""
    record = await session.ask_cached(get_sweep(ref), fresh=fresh)
    if record is None:
        raise NotFoundError(f"Could not find sweep {ref}.", operation="GetSweep")
    return Sweep(record, session, ref.entity, ref.project)
