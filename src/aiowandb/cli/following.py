"""What grows while a run is under way, looked at again and again until the run has ended."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeVar

import anyio

if TYPE_CHECKING:
    from aiowandb.api import AsyncApi, Run
    from aiowandb.wire.console import ConsoleLogLine

Row = dict[str, Any]
T = TypeVar("T")

POLL_S = 2.0
# So many lines between two looks are usual; if there were more, all are read.
_TAIL = 500
_UNDER_WAY = frozenset({"running", "pending", "preempting", "preempted"})


async def followed(
    api: AsyncApi, run: Run, news: Callable[[], AsyncIterator[T]], poll: float = POLL_S
) -> AsyncGenerator[T]:
    """What `news` gives each time that it is asked, until the run has ended."""
    while True:
        # The state goes first: what was written before the end is then read after it.
        is_over = run.state not in _UNDER_WAY
        async for item in news():
            yield item
        if is_over:
            return
        await anyio.sleep(poll)
        api.flush()
        await run.load()


def new_rows(
    run: Run, keys: list[str] | None, after: int, *, any_key: bool = False
) -> Callable[[], AsyncGenerator[Row]]:
    """Rows behind the step `after`, each of them once."""
    last = after

    async def news() -> AsyncGenerator[Row]:
        nonlocal last
        scan = run.scan_history(keys, min_step=last + 1, any_key=any_key)
        async with aclosing(scan) as rows:
            async for row in rows:
                yield row
                last = max(last, row["_step"])

    return news


def new_lines(run: Run, first: int | None) -> Callable[[], AsyncGenerator[ConsoleLogLine]]:
    """The last lines of the console, then what is added, each line once."""
    last = -1
    is_first = True

    async def news() -> AsyncGenerator[ConsoleLogLine]:
        nonlocal last, is_first
        found = await _lines(run, first if is_first else _TAIL)
        if not is_first and found and found[0].number > last + 1:
            found = await _lines(run, None)  # more came than the tail has
        is_first = False
        for line in found:
            if line.number > last:
                yield line
                last = line.number

    return news


async def _lines(run: Run, last: int | None) -> list[ConsoleLogLine]:
    async with aclosing(run.console_logs(last=last)) as lines:
        return [line async for line in lines]
