"""Polls what a live run adds, until the run has ended."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeVar

import anyio

if TYPE_CHECKING:
    from aiowandb.api import AsyncApi, Run
    from aiowandb.wire.console import ConsoleLogLine

Row = dict[str, Any]
T = TypeVar("T")

POLL_S = 2.0
# Usually enough lines for one poll; if there were more, all are read.
_TAIL = 500
_LIVE_STATES = frozenset({"running", "pending", "preempting", "preempted"})


async def follow_run(
    api: AsyncApi, run: Run, fetch_new: Callable[[], AsyncGenerator[T]]
) -> AsyncGenerator[T]:
    """The items that `fetch_new` returns at each poll, until the run has ended."""
    while True:
        # The state is read first, so that what came before the end is read after it.
        has_ended = run.state not in _LIVE_STATES
        async with aclosing(fetch_new()) as new:
            async for item in new:
                yield item
        if has_ended:
            return
        await anyio.sleep(POLL_S)
        api.flush()
        await run.load()


def new_rows(
    run: Run, keys: list[str] | None, after: int, *, any_key: bool = False
) -> Callable[[], AsyncGenerator[Row]]:
    """Yields the rows after step `after`, each of them once."""
    last = after

    async def fetch_new() -> AsyncGenerator[Row]:
        nonlocal last
        scan = run.scan_history(keys, min_step=last + 1, any_key=any_key)
        async with aclosing(scan) as rows:
            async for row in rows:
                yield row
                last = max(last, row["_step"])

    return fetch_new


def new_lines(run: Run, first: int | None) -> Callable[[], AsyncGenerator[ConsoleLogLine]]:
    """Yields the last `first` lines of the console, then added ones, each of them once."""
    last = -1
    is_first = True

    async def fetch_new() -> AsyncGenerator[ConsoleLogLine]:
        nonlocal last, is_first
        found = await _lines(run, first if is_first else _TAIL)
        if not is_first and found and found[0].number > last + 1:
            found = await _lines(run, None)  # more than the tail
        is_first = False
        for line in found:
            if line.number > last:
                yield line
                last = line.number

    return fetch_new


async def _lines(run: Run, last: int | None) -> list[ConsoleLogLine]:
    async with aclosing(run.console_logs(last=last)) as lines:
        return [line async for line in lines]
