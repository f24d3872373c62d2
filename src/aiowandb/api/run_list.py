"""The list of the runs that match a query: read page by page, or as a table."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from aiowandb.api.defaults import Defaults
from aiowandb.api.listing import Listing
from aiowandb.api.run import Run
from aiowandb.api.run_pages import RUNS_PER_PAGE, all_runs, no_project, run_pages, runs_table
from aiowandb.arguments import checks
from aiowandb.choices import RunField
from aiowandb.concurrency.tasks import Delivered, Stream
from aiowandb.errors import UsageError, extra_needed
from aiowandb.history.neighbours import Neighbours
from aiowandb.net import Session
from aiowandb.paths import parse_project_path
from aiowandb.wire.filters import check_filters, check_order
from aiowandb.wire.record import RunRecord
from aiowandb.wire.runs import RunQuery, count_runs

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa


class _Kept(NamedTuple):
    """A run that was read by index or slice, and what the list had of it then."""

    run: Run
    listed: RunRecord


class RunList(Listing[Run]):
    """The runs that match a query, with their fields."""

    def __init__(
        self,
        session: Session,
        defaults: Defaults,
        path: str | None,
        filters: Mapping[str, Any] | None,
        order: str | None,
        per_page: int,
        include: Collection[RunField],
        *,
        fresh: bool = False,
        start: str | None = None,
    ) -> None:
        super().__init__(session)
        self._defaults = defaults
        self._fresh = fresh
        self._start = self._cursor = start
        parse_project_path(path)  # raises at once if it is invalid
        self._path = path
        checked = {} if filters is None else check_filters(filters)
        self._query = RunQuery(checked, check_order(order), per_page, frozenset(include))
        # By id. An index gives the same object each time: `runs[0].update()` has to send what was
        # changed in `runs[0].config` before.
        self._kept: dict[str, _Kept] = {}
        self._by_index = Neighbours(session)
        self._last_page: list[Run] = []

    @property
    def cursor(self) -> str | None:
        """Where the page begins that follows the last page that a loop was given.

        `api.runs(..., start=cursor)` continues there, in this process or in another one. The
        order has to be the same. After the last page, that list has the runs that are new.
        """
        return self._cursor

    @checks()
    async def count(self) -> int:
        """The number of items."""
        if self._start is not None:
            return await self._count_rest()
        entity, project = await self._defaults.project(self._path)
        query = count_runs(entity, project, self._query.filters)
        found = await self._session.ask_cached(query, fresh=self._fresh)
        if found is None:
            raise no_project(entity, project)
        return found

    @checks()
    async def to_arrow(self) -> pa.Table:
        """A table with one row per run: its fields, and flattened `config.*` and `summary.*`."""
        query = msgspec.structs.replace(
            self._query,
            fields=frozenset(self._query.fields) & {"config", "summary"},
            per_page=max(self._query.per_page, RUNS_PER_PAGE),
        )
        if self._start is None:
            records = self._all_records(query)
        else:
            records = self._records(query, fresh=True)
        return await runs_table(self._session.ahead(records))

    @checks()
    async def to_pandas(self) -> pd.DataFrame:
        """The table of `to_arrow` as a pandas DataFrame."""
        with extra_needed("pandas", "to_pandas()"):
            import pandas as pd  # noqa: F401 - pyarrow needs it
        return (await self.to_arrow()).to_pandas()

    @checks()
    async def to_polars(self) -> pl.DataFrame:
        """The table of `to_arrow` as a polars DataFrame."""
        with extra_needed("polars", "to_polars()"):
            import polars as pl
        frame = pl.from_arrow(await self.to_arrow())
        assert isinstance(frame, pl.DataFrame)  # noqa: S101 - a table is never a series
        return frame

    def pages(self) -> Stream[list[Run]]:
        """The items in lists of `per_page`, as W&B sends them."""
        # Pages are read ahead: a cursor counts when its page is taken.
        cursors: deque[str | None] = deque()

        def delivered() -> None:
            self._cursor = cursors.popleft()

        pages = Neighbours(self._session).ahead(self._pages(cursors.append))
        return Delivered(pages, delivered)

    async def _slice(self, wanted: slice) -> list[Run]:
        found = [self._keep(run) for run in await super()._slice(wanted)]
        if len(found) != 1:
            Neighbours(self._session).add_page(found)
        elif not self._by_index.has(found[0]):
            # Mostly this is a loop over indexes, which needs the others of the page next.
            self._by_index.add_page([self._keep(run) for run in self._last_page])
        return found

    async def _first(self, most: int | None) -> list[Run]:
        found = await super()._first(most)
        size = self._query.per_page
        self._last_page = found[((most or 1) - 1) // size * size :]
        return found

    def _keep(self, run: Run) -> Run:
        """The run, or the object that an index has returned for it, with what is new at W&B."""
        found = self._kept.get(run.id, _Kept(run, run._read))
        if found.listed is not run._read:
            found.run._renew(run._read)
        self._kept[run.id] = _Kept(found.run, run._read)
        return found.run

    async def _pages(
        self, on_page: Callable[[str | None], object] = lambda _: None
    ) -> AsyncGenerator[list[Run]]:
        async with aclosing(self._records(self._query, on_page, fresh=self._fresh)) as pages:
            async for records in pages:
                yield [Run(record, self._session) for record in records]

    def _records(
        self,
        query: RunQuery,
        on_page: Callable[[str | None], object] = lambda _: None,
        *,
        fresh: bool,
    ) -> AsyncGenerator[list[RunRecord]]:
        where = partial(self._defaults.project, self._path)
        return run_pages(
            self._session, where, query, fresh=fresh, start=self._start, on_page=on_page
        )

    def _all_records(self, query: RunQuery) -> AsyncGenerator[list[RunRecord]]:
        return all_runs(self._session, partial(self._defaults.project, self._path), query)

    def _require_all(self, what: str) -> None:
        """Raise if the list begins in the middle."""
        if self._start is not None:
            raise UsageError(
                f"{what} takes all runs of the query: it cannot be called on a list that begins"
                " at start=... . Select some of them with filters."
            )

    async def _count_rest(self) -> int:
        """The runs after `start`, which W&B does not count: they are listed."""
        query = msgspec.structs.replace(
            self._query, fields=frozenset(), per_page=max(self._query.per_page, RUNS_PER_PAGE)
        )
        async with aclosing(self._records(query, fresh=self._fresh)) as pages:
            return sum([len(page) async for page in pages])

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._path or 'of the default project'}>"
