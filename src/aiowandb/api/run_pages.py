"""The pages of a list of runs, cached or complete, and their runs as a table."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING

import msgspec

from aiowandb.concurrency.tasks import Stream
from aiowandb.concurrency.threads import import_in_thread, run_sync
from aiowandb.errors import NotFoundError
from aiowandb.net import BatchSize, Session, ask_page
from aiowandb.net.paging import all_pages_of, pages_of
from aiowandb.wire.connection import Connection
from aiowandb.wire.graphql import Operation
from aiowandb.wire.record import RunRecord
from aiowandb.wire.runs import RunQuery, RunsPage, list_runs

if TYPE_CHECKING:
    import pyarrow as pa

# Exports, copies and plans read all pages anyway, and W&B limits the number of requests.
RUNS_PER_PAGE = 500
# Pages that W&B is too slow for are halved down to this size.
_LEAST_PAGE = 25


async def run_pages(
    session: Session,
    where: Callable[[], Awaitable[tuple[str, str]]],
    query: RunQuery,
    *,
    fresh: bool,
    start: str | None = None,
    on_page: Callable[[str | None], object] = lambda _: None,
) -> AsyncGenerator[list[RunRecord]]:
    """The runs of a query after the cursor `start`, page by page, cached unless `fresh`.

    `where` finds out entity and project. Before a page is yielded, `on_page` gets the cursor of
    its last run.
    """
    entity, project = await where()
    times = 0

    async def page(cursor: str | None) -> Connection[RunRecord]:
        nonlocal times
        times += cursor == start
        operation = list_runs(entity, project, query, cursor)
        # What is listed again has changed.
        found = await session.ask_cached(operation, fresh=fresh or times > 1)
        runs = _counted(_found(found, entity, project))
        if runs.nodes:
            on_page(runs.last_cursor)
        return runs

    what = _what(entity, project)
    # Only a list from its beginning has as many runs as W&B counts.
    listing = all_pages_of(what, page) if start is None else pages_of(what, page, start)
    async with aclosing(listing) as pages:
        async for records in pages:
            if records:
                yield _at(entity, project, records)


async def all_runs(
    session: Session, where: Callable[[], Awaitable[tuple[str, str]]], query: RunQuery
) -> AsyncGenerator[list[RunRecord]]:
    """Every run of a query just once, even if runs come and go meanwhile; never cached."""
    entity, project = await where()
    size = BatchSize(query.per_page, query.per_page)

    async def page(cursor: str | None) -> Connection[RunRecord]:
        def of_size(per_page: int) -> Operation[RunsPage | None]:
            asked = msgspec.structs.replace(query, per_page=per_page)
            return list_runs(entity, project, asked, cursor)

        asked = await ask_page(session, of_size, size, min(_LEAST_PAGE, query.per_page))
        return _counted(_found(asked, entity, project))

    async with aclosing(all_pages_of(_what(entity, project), page)) as pages:
        async for records in pages:
            yield _at(entity, project, records)


def _what(entity: str, project: str) -> str:
    return f"the runs of {entity}/{project}"


def _found(page: RunsPage | None, entity: str, project: str) -> RunsPage:
    if page is None:
        raise no_project(entity, project)
    return page


def _counted(page: RunsPage) -> Connection[RunRecord]:
    return msgspec.structs.replace(page.runs, total_count=page.run_count)


def _at(entity: str, project: str, records: list[RunRecord]) -> list[RunRecord]:
    for record in records:
        record.entity, record.project = entity, project
    return records


def no_project(entity: str, project: str) -> NotFoundError:
    return NotFoundError(f"Could not find project {entity}/{project}.", operation="Runs")


async def runs_table(pages: Stream[list[RunRecord]]) -> pa.Table:
    """A table with one row per run."""
    await import_in_thread("aiowandb.export")
    from aiowandb.export.runs_table import RunsTable

    table = RunsTable()
    async with aclosing(pages):
        async for page in pages:
            await run_sync(table.add, page)
    return await run_sync(table.table)
