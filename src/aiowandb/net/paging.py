"""Reading lists page by page, also from servers that list the same thing for ever."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Container, Hashable
from contextlib import aclosing
from operator import attrgetter
from typing import Any, TypeVar

from aiowandb.errors import ServerError
from aiowandb.user_warnings import warn
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
    the same if their `key` is. Fewer than W&B counts are a warning.
    """
    listed = 0
    counts: list[int] = []
    async with aclosing(_pages(what, _counting(ask, counts), start, key)) as pages:
        async for page in pages:
            listed += len(page)
            yield page
    if start is None and listed < min(counts):
        warn(f"W&B counts {min(counts):,} of {what} but lists only {listed:,}.")


async def _pages(
    what: str,
    ask: Callable[[str | None], Awaitable[Connection[T]]],
    start: str | None,
    key: Callable[[T], Hashable],
) -> AsyncGenerator[list[T]]:
    cursor = start
    seen: set[Hashable] = {start}
    empty = 0
    before: Container[Hashable] = ()
    while True:
        page = await ask(cursor)
        items: dict[Hashable, T] = {}
        for node in page.nodes:
            items.setdefault(key(node), node)
        if items:
            # Cursors may be new each time that the same page comes.
            _first_time(seen, (len(page.nodes), hash(tuple(map(key, page.nodes)))), what)
        # Pages that overlap, or have an item twice, are no reason to give it twice.
        new = [node for name, node in items.items() if name not in before]
        before = items.keys()
        if new:
            empty = 0
            yield new
        cursor = page.next_cursor
        if cursor is None:
            return
        _first_time(seen, cursor, what)
        empty += not new
        if empty > _MOST_EMPTY:
            raise ServerError(f"W&B lists {what} without end: {empty} pages with nothing.")


def _counting(
    ask: Callable[[str | None], Awaitable[Connection[T]]], counts: list[int]
) -> Callable[[str | None], Awaitable[Connection[T]]]:
    """The same, which adds to `counts` how long the list is by what each page says."""

    async def counted(cursor: str | None) -> Connection[T]:
        page = await ask(cursor)
        counts.append(page.total_count or 0)
        return page

    return counted


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

    for _ in range(2):
        counts.clear()
        async with aclosing(_pages(what, _counting(ask, counts), None, key)) as pages:
            async for page in pages:
                yield [item for item in page if key(item) not in seen]
                seen.update(map(key, page))
        if len(seen) >= min(counts):
            return
    raise ServerError(f"W&B counts {min(counts)} of {what} but lists only {len(seen)}.")
