"""The list of the runs that match a query: read page by page, or as a table."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from aiowandb.api.defaults import Defaults
from aiowandb.api.listing import Listing
from aiowandb.api.run import Run
from aiowandb.api.run_pages import RUNS_PER_PAGE, no_project, run_pages, runs_table
from aiowandb.choices import RunField
from aiowandb.concurrency.tasks import Stream
from aiowandb.errors import extra_needed
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
    ) -> None:
        super().__init__(session)
        self._defaults = defaults
        self._fresh = fresh
        parse_project_path(path)  # raises at once if it is invalid
        self._path = path
        checked = {} if filters is None else check_filters(filters)
        self._query = RunQuery(checked, check_order(order), per_page, frozenset(include))

    async def count(self) -> int:
        """The number of items."""
        entity, project = await self._defaults.project(self._path)
        query = count_runs(entity, project, self._query.filters)
        found = await self._session.ask_cached(query, fresh=self._fresh)
        if found is None:
            raise no_project(entity, project)
        return found

    async def to_arrow(self) -> pa.Table:
        """A table with one row per run: its fields, and flattened `config.*` and `summary.*`."""
        query = msgspec.structs.replace(
            self._query,
            fields=frozenset(self._query.fields) & {"config", "summary"},
            per_page=max(self._query.per_page, RUNS_PER_PAGE),
        )
        return await runs_table(self._session.ahead(self._records(query, fresh=True)))

    async def to_pandas(self) -> pd.DataFrame:
        """The table of `to_arrow` as a pandas DataFrame."""
        with extra_needed("pandas", "to_pandas()"):
            import pandas as pd  # noqa: F401 - pyarrow needs it
        return (await self.to_arrow()).to_pandas()

    async def to_polars(self) -> pl.DataFrame:
        """The table of `to_arrow` as a polars DataFrame."""
        with extra_needed("polars", "to_polars()"):
            import polars as pl
        frame = pl.from_arrow(await self.to_arrow())
        assert isinstance(frame, pl.DataFrame)  # noqa: S101 - a table is never a series
        return frame

    def pages(self) -> Stream[list[Run]]:
        """The items in lists of `per_page`, as W&B sends them."""
        return Neighbours(self._session).ahead(self._pages())

    async def _slice(self, wanted: slice) -> list[Run]:
        found = await super()._slice(wanted)
        Neighbours(self._session).add_page(found)
        return found

    async def _pages(self) -> AsyncGenerator[list[Run]]:
        async with aclosing(self._records(self._query, fresh=False)) as pages:
            async for records in pages:
                yield [Run(record, self._session) for record in records]

    def _records(self, query: RunQuery, *, fresh: bool) -> AsyncGenerator[list[RunRecord]]:
        where = partial(self._defaults.project, self._path)
        return run_pages(self._session, where, query, complete=fresh, fresh=self._fresh)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._path or 'of the default project'}>"
