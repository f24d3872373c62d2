"""`Runs`: the runs that a query finds, page by page, as a table, or as files."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from aiowandb.api.defaults import Defaults
from aiowandb.api.histories import checked_keys
from aiowandb.api.listing import Listing
from aiowandb.api.rows import RowsFormat, rows_format
from aiowandb.api.run import Run
from aiowandb.errors import NotFoundError, UsageError
from aiowandb.net import BatchSize, Session, ask_page
from aiowandb.net.paging import all_pages_of, pages_of
from aiowandb.tasks import gather
from aiowandb.threads import run_sync
from aiowandb.wire.connection import Connection
from aiowandb.wire.filters import checked, checked_order
from aiowandb.wire.graphql import Operation
from aiowandb.wire.history import EventStream
from aiowandb.wire.record import Part, RunRecord
from aiowandb.wire.runs import RunQuery, RunsData, count_runs, list_runs

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    from aiowandb.export import (
        ExportResult,
        Format,
        Layout,
        Nan,
        OnDeleted,
        OnEvent,
        Sink,
        Split,
        What,
    )

# An export reads all pages anyway, and W&B counts requests.
_PER_LONG_PAGE = 500
_LEAST_PAGE = 25
# Samples are small; how many really travel at once is for the session to say.
_SAMPLES_AT_ONCE = 16
_EXPORTED: frozenset[Part] = frozenset({"config", "summary", "history_keys"})


class Runs(Listing[Run]):
    """The runs that a query finds. Nothing is sent until they are used.

    A page that was read is kept, and W&B is not asked for it again in the same session,
    unless the list was made with `fresh=True`. Exports and tables always ask.

    >>> runs = api.runs("entity/project")
    >>> await runs.count()
    >>> first, some = await runs[0], await runs[10:20]
    >>> async for run in runs:
    ...     print(run.name)
    """

    def __init__(
        self,
        session: Session,
        defaults: Defaults,
        path: str | None,
        filters: Mapping[str, Any] | None,
        order: str | None,
        per_page: int,
        include: Collection[Part],
        *,
        fresh: bool = False,
    ) -> None:
        if per_page < 1:
            raise UsageError(f"per_page must be at least 1, not {per_page}.")
        super().__init__(session)
        self._defaults = defaults
        self._fresh = fresh
        self._path = path
        chosen = {} if filters is None else checked(filters)
        self._query = RunQuery(chosen, checked_order(order), per_page, frozenset(include))

    async def count(self) -> int:
        """How many there are."""
        entity, project = await self._defaults.project(self._path)
        query = count_runs(entity, project, self._query.filters)
        found = (await self._session.recall(query, fresh=self._fresh)).project
        if found is None:
            raise _no_project(entity, project)
        return found.run_count

    async def to_arrow(self) -> pa.Table:
        """A table with a row a run: its own fields, `config.*` and `summary.*` flattened.

        pandas, polars and duckdb read it directly.
        """
        from aiowandb.export.runs_table import RunsTable

        query = msgspec.structs.replace(
            self._query,
            parts=frozenset(self._query.parts) & {"config", "summary"},
            per_page=max(self._query.per_page, _PER_LONG_PAGE),
        )
        table = RunsTable()
        async with aclosing(self._session.ahead(self._records(query, fresh=True))) as pages:
            async for page in pages:
                await run_sync(table.add, page)
        return await run_sync(table.table)

    async def to_pandas(self) -> pd.DataFrame:
        """The table of `to_arrow` as a pandas DataFrame."""
        return (await self.to_arrow()).to_pandas()

    async def to_polars(self) -> pl.DataFrame:
        """The table of `to_arrow` as a polars DataFrame."""
        import polars as pl

        frame = pl.from_arrow(await self.to_arrow())
        assert isinstance(frame, pl.DataFrame)  # noqa: S101 - a table is never a series
        return frame

    async def histories(
        self,
        samples: int = 500,
        keys: Sequence[str] | None = None,
        x_axis: str = "_step",
        format: RowsFormat = "default",
        stream: EventStream = "default",
    ) -> Any:
        """A sample of each run's rows, at most `samples` of them, every row with its `run_id`.

        They are dicts, or with `format` one frame of pandas or polars. All rows of all runs:
        `api.scan_histories(runs)`.
        """
        in_format = rows_format(format)

        async def sample(run: Run) -> list[dict[str, Any]]:
            rows = await run.history(samples, keys, x_axis, stream, pandas=False)
            return [row | {"run_id": run.id} for row in rows]

        found = await gather(self, sample, at_once=_SAMPLES_AT_ONCE)
        return in_format([row for rows in found for row in rows])

    async def export(
        self,
        target: str | Path | Sink,
        *,
        format: Format = "parquet",
        what: Collection[What] | None = None,
        layout: Layout = "wide",
        split: Split | None = None,
        keys: Sequence[str] | None = None,
        exclude: Sequence[str] = (),
        min_step: int | None = None,
        max_step: int | None = None,
        samples: int | None = None,
        safe_csv: bool = False,
        on_deleted: OnDeleted = "keep",
        nan: Nan | None = None,
        filesystem: Any = None,
        overwrite: bool = False,
        on_event: OnEvent | None = None,
    ) -> ExportResult:
        """Bring a folder up to date with these runs and their whole histories.

        `runs.<format>` has one row a run; the history has all rows of all runs, with
        `run_id` and `_step` first: the Parquet dataset `history/`, or `history.<format>`
        for csv, jsonl and arrow. `what` may also ask for `system`, the system metrics, and
        for the runs' `files` and `artifacts`.

        A file appears whole or not at all. Killed at any instant, the same call goes on
        where it was; made again, it asks only for runs and steps that are new. A folder
        in which something else was exported is refused, unless with `overwrite`. Runs that
        fail are named in the result, the others are there. Runs that W&B has no more stay,
        and `runs.<format>` says so in its column `deleted`, unless `on_deleted` is `"drop"`.

        `keys`, names or globs, chooses the rows that have one of them; `exclude` leaves
        columns out; `samples` takes a sample of each run instead of all. `layout="long"`
        has a row a value, `split="run"` a file a run. `safe_csv` defuses cells that a
        spreadsheet would run. `nan` is what JSON Lines have for NaN and the infinities:
        `"null"`, which is the default, `"text"` like `"NaN"`, or the bare `"token"`.
        `on_event` is called with what happens meanwhile.

        The folder may be a URL like `s3://bucket/folder`, or a path in `filesystem`, one of
        pyarrow's or fsspec's. Instead of a folder, `target` may be `-`, the standard output,
        or a sink of your own: it is handed one table, the history or what `what` says.

        >>> result = await api.runs("entity/project").export("out", keys=["loss", "val.*"])
        >>> result.rows, result.failed
        """
        from aiowandb.export import ExportOptions, Source, export_runs

        is_folder = isinstance(target, str | Path) and target != "-"
        options = ExportOptions(
            format=format,
            what=tuple(what or (("runs", "history") if is_folder else ("history",))),
            layout=layout,
            split=split,
            keys=checked_keys(keys) or None,
            exclude=checked_keys(exclude),
            min_step=min_step,
            max_step=max_step,
            samples=samples,
            safe_csv=safe_csv,
            on_deleted=on_deleted,
            nan=nan,
        )
        entity, project = await self._defaults.project(self._path)
        source = Source(
            self._session.host,
            f"{entity}/{project}",
            dict(self._query.filters),
            self._query.order,
        )
        query = RunQuery(source.filters, source.order, _PER_LONG_PAGE, _EXPORTED)
        async with aclosing(self._pages(query, fresh=True)) as pages:
            return await export_runs(
                self._session,
                pages,
                source,
                target,
                options,
                filesystem=filesystem,
                overwrite=overwrite,
                on_event=on_event,
            )

    async def _pages(
        self, query: RunQuery | None = None, *, fresh: bool = False
    ) -> AsyncGenerator[list[Run]]:
        entity, project = await self._defaults.project(self._path)
        async with aclosing(self._records(query or self._query, fresh=fresh)) as pages:
            async for records in pages:
                yield [Run.of(record, self._session, entity, project) for record in records]

    async def _records(self, query: RunQuery, *, fresh: bool) -> AsyncGenerator[list[RunRecord]]:
        entity, project = await self._defaults.project(self._path)
        size = BatchSize(query.per_page, query.per_page)

        async def page(cursor: str | None) -> Connection[RunRecord]:
            def of_size(per_page: int) -> Operation[RunsData]:
                asked = msgspec.structs.replace(query, per_page=per_page)
                return list_runs(entity, project, asked, cursor)

            if fresh:
                least = min(_LEAST_PAGE, query.per_page)
                data = await ask_page(self._session, of_size, size, least)
            else:
                asked = of_size(query.per_page)
                data = await self._session.recall(asked, fresh=self._fresh)
            found = data.project
            if found is None:
                raise _no_project(entity, project)
            return msgspec.structs.replace(found.runs, total_count=found.run_count)

        what = f"the runs of {entity}/{project}"
        listing = all_pages_of(what, page, lambda run: run.id) if fresh else pages_of(what, page)
        async with aclosing(listing) as pages:
            async for records in pages:
                yield records

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._path or 'of the default project'}>"


def _no_project(entity: str, project: str) -> NotFoundError:
    return NotFoundError(f"Could not find project {entity}/{project}.", operation="Runs")
