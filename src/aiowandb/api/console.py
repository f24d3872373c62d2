"""The console output of a run, page by page."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from aiowandb.errors import NotFoundError, ServerError
from aiowandb.net import Session
from aiowandb.paths import RunRef
from aiowandb.wire.console import ConsoleLogLine, ConsoleRun, console_page, console_tail


async def console_pages(
    session: Session, ref: RunRef, per_page: int, last: int | None
) -> AsyncGenerator[list[ConsoleLogLine]]:
    """All lines page by page, or the `last` ones."""
    cursor: str | None = None
    while True:
        found = await _page(session, ref, per_page, last, cursor)
        yield [line.read() for line in found.log_lines.nodes]
        last_cursor, cursor = cursor, found.next_cursor()
        if cursor is None:
            return
        if cursor == last_cursor:
            raise ServerError(f"W&B returns the same console lines of run {ref} again and again.")


async def _page(
    session: Session, ref: RunRef, per_page: int, last: int | None, cursor: str | None
) -> ConsoleRun:
    asked = console_page(ref, per_page, cursor) if last is None else console_tail(ref, last)
    found = await session.ask(asked)  # not cached: it grows while the run is live
    if found is None:
        raise NotFoundError(f"Could not find run {ref}.")
    return found
