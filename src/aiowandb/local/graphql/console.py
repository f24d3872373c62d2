"""A run's console output on the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiowandb.local.graphql.resolving import Resolvers, connection, page_size

if TYPE_CHECKING:
    from aiowandb.local.graphql.context import Context
    from aiowandb.local.store.records import Run

resolvers = Resolvers()

_LINES_A_PAGE = 1000


@resolvers("Run", "logLines")
def log_lines(
    run: Run,
    context: Context,
    first: int | None = None,
    after: str | None = None,
    last: int | None = None,
    use_improved_pagination: bool | None = None,  # noqa: ARG001 - there is only this one
) -> Any:
    if last is not None:
        page = context.store.console.tail(run, page_size(last, limit=100_000))
    else:
        size = page_size(first, _LINES_A_PAGE, _LINES_A_PAGE)
        page = context.store.console.page(run, first=size, after=after)
    return connection(page.items, page.cursors, has_next=page.has_next)
