"""A list, page after page."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable
from contextlib import aclosing
from typing import TypeVar

from aiowandb.errors import ServerError
from aiowandb.wire.connection import Connection

T = TypeVar("T")


async def pages_of(
    what: str, ask: Callable[[str | None], Awaitable[Connection[T]]]
) -> AsyncGenerator[list[T]]:
    """The pages that `ask` gives for one cursor after another; an empty one is left out.

    `what` says in errors what is listed.
    """
    cursor: str | None = None
    met: set[str | None] = {None}
    while True:
        page = await ask(cursor)
        if page.nodes:
            yield page.nodes
        cursor = page.next_cursor
        if cursor is None:
            return
        if cursor in met:
            raise ServerError(f"W&B lists {what} in a circle: the same page comes again and again.")
        met.add(cursor)


async def all_pages_of(
    what: str,
    ask: Callable[[str | None], Awaitable[Connection[T]]],
    key: Callable[[T], Hashable],
) -> AsyncGenerator[list[T]]:
    """Every item once, also of a list that changes meanwhile, or an error.

    What one listing has left out, a second one brings.
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
    raise ServerError(f"W&B counts {min(counts)} of {what} and lists only {len(seen)}.")
