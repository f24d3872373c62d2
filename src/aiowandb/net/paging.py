"""Reading lists page by page."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable
from contextlib import aclosing
from typing import TypeVar

from aiowandb.errors import ServerError
from aiowandb.wire.connection import Connection

T = TypeVar("T")


async def pages_of(
    what: str,
    ask: Callable[[str | None], Awaitable[Connection[T]]],
    start: str | None = None,
) -> AsyncGenerator[list[T]]:
    """The pages that `ask` returns for one cursor after another, without empty ones.

    `what` names the list in error messages. `start` is the cursor of the first page.
    """
    cursor = start
    seen: set[str | None] = {None, start}
    while True:
        page = await ask(cursor)
        if page.nodes:
            yield page.nodes
        cursor = page.next_cursor
        if cursor is None:
            return
        if cursor in seen:
            raise ServerError(f"W&B lists {what} in a loop: the same page came twice.")
        seen.add(cursor)


async def all_pages_of(
    what: str,
    ask: Callable[[str | None], Awaitable[Connection[T]]],
    key: Callable[[T], Hashable],
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
        async with aclosing(pages_of(what, counted)) as pages:
            async for page in pages:
                yield [item for item in page if key(item) not in seen]
                seen.update(map(key, page))
        if len(seen) >= min(counts):
            return
    raise ServerError(f"W&B counts {min(counts)} of {what} but lists only {len(seen)}.")
