"""A list, page after page."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TypeVar

from aiowandb.wire.connection import Connection

T = TypeVar("T")


async def pages_of(
    ask: Callable[[str | None], Awaitable[Connection[T]]],
) -> AsyncGenerator[list[T]]:
    """The pages that `ask` gives for one cursor after another; an empty one is left out."""
    cursor: str | None = None
    while True:
        page = await ask(cursor)
        if page.nodes:
            yield page.nodes
        cursor = page.next_cursor
        if cursor is None:
            return
