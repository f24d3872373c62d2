"""Blocking calls in worker threads, and blocking things that are held while they are used."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar, TypeVarTuple

import anyio
import anyio.to_thread

from aiowandb.tasks import task_group

T = TypeVar("T")
Args = TypeVarTuple("Args")


async def run_sync(function: Callable[[*Args], T], *args: *Args) -> T:
    """What the function gives in a worker thread. It is waited for in any case.

    anyio's own is not where asyncio cancels a task without anyio's knowledge, as
    `asyncio.wait_for` does: then a file would be closed while the thread still writes it.
    """
    results: list[T] = []

    async def run() -> None:
        results.append(await anyio.to_thread.run_sync(function, *args))

    async with task_group() as tasks:
        tasks.start_soon(run)
    return results[0]


@asynccontextmanager
async def held(make: Callable[[], T], drop: Callable[[T], object]) -> AsyncIterator[T]:
    """What `make` makes in a thread and `drop` does away with in one, however the block ends."""
    made: list[T] = []
    try:
        await run_sync(lambda: made.append(make()))
        yield made[0]
    finally:
        with anyio.CancelScope(shield=True):
            for one in made:
                await run_sync(drop, one)
