"""Reading lists page by page, also from servers that list the same thing for ever."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable
from contextlib import aclosing
from operator import attrgetter
from typing import Any, TypeVar

from aiowandb.errors import ServerError
from aiowandb.wire.connection import Connection

T = TypeVar("T")

# What is listed between two pages may be gone when it is listed, but not for ever.
_MOST_EMPTY = 3
_ID: Callable[[Any], Hashable] = attrgetter("id")


async def pages_of(
    what: str,
    ask: Callable[[str | None], Awaitable[Connection[T]]],
    start: str | None = None,
    key: Callable[[T], Hashable] = _ID,
) -> AsyncGenerator[list[T]]:
    """The pages that `ask` returns for one cursor after another, without empty ones.

    `what` names the list in error messages. `start` is the cursor of the first page. Items are
    the same if their `key` is.
    """
    cursor = start
    seen: set[Hashable] = {start}
    empty = 0
    while True:
        page = await ask(cursor)
        if nodes := page.nodes:
            # Cursors may be new each time that the same page comes.
            _first_time(seen, (len(nodes), hash(tuple(map(key, nodes)))), what)
            empty = 0
            yield nodes
        cursor = page.next_cursor
        if cursor is None:
            return
        _first_time(seen, cursor, what)
        empty += not nodes
        if empty > _MOST_EMPTY:
            raise ServerError(f"W&B lists {what} without end: {empty} pages with nothing.")


def _first_time(seen: set[Hashable], mark: Hashable, what: str) -> None:
    if mark in seen:
        raise ServerError(f"W&B lists {what} in a loop: the same page came twice.")
    seen.add(mark)


async def all_pages_of(
    what: str,
    ask: Callable[[str | None], Awaitable[Connection[T]]],
    key: Callable[[T], Hashable] = _ID,
) -> AsyncGenerator[list[T]]:
    """Every item once, even if the list changes meanwhile, or an error.

    Items that are missing from the first listing are taken from a second one.
    """
    seen: set[Hashable] = set()
    counts: list[int] = []

    async def counted(cursor: str | None) -> Connection[T]:
        page = await ask(cursor)
        counts.append(page.total_count or 0)
        return page

    for _ in range(2):
        counts.clear()
        async with aclosing(pages_of(what, counted, key=key)) as pages:
            async for page in pages:
                yield [item for item in page if key(item) not in seen]
                seen.update(map(key, page))
        if len(seen) >= min(counts):
            return
    raise ServerError(f"W&B counts {min(counts)} of {what} but lists only {len(seen)}.")
