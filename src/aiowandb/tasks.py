"""Task groups for people: what goes wrong in a task comes out as itself, not as a group."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import TypeVar

import anyio
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

T = TypeVar("T")


@asynccontextmanager
async def task_group() -> AsyncIterator[TaskGroup]:
    """An anyio task group that raises the first error of its tasks."""
    try:
        async with anyio.create_task_group() as tasks:
            yield tasks
    except BaseExceptionGroup as group:
        raise _first(group) from None


@asynccontextmanager
async def read_ahead(
    items: AsyncGenerator[T], max_ahead: int = 1
) -> AsyncIterator[MemoryObjectReceiveStream[T]]:
    """Let the generator work on its next items while the block uses this one."""
    send, receive = anyio.create_memory_object_stream[T](max_ahead)
    with receive:
        async with task_group() as tasks:
            tasks.start_soon(_pump, items, send)
            yield receive
            tasks.cancel_scope.cancel()


async def _pump(items: AsyncGenerator[T], send: MemoryObjectSendStream[T]) -> None:
    async with send, aclosing(items):
        async for item in items:
            await send.send(item)


def _first(error: BaseException) -> BaseException:
    # Interrupts weigh more than failures: whoever pressed Ctrl-C wants to see that.
    while isinstance(error, BaseExceptionGroup):
        urgent = [e for e in error.exceptions if not isinstance(e, Exception)]
        error = (urgent or error.exceptions)[0]
    return error
