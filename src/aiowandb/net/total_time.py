"""`total_timeout`: how long one call may take in all, or one step of a loop.

Beside it, `timeout` is about the silence of W&B in one request: see `attempts`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sized
from contextlib import aclosing, contextmanager
from typing import TypeVar

import anyio

from aiowandb.errors import TimeoutError
from aiowandb.net.waits import Waits

T = TypeVar("T")


@contextmanager
def limited(
    seconds: float | None, what: str, waits: Waits, since: float | None = None
) -> Iterator[None]:
    """Cancel what the block does after so many seconds, and raise a `TimeoutError`.

    They count from now, or from an earlier time of the event loop's clock. `what` is for the
    message, and so are the requests that the block has in progress then, which `waits` knows.
    """
    if seconds is None:
        yield
        return
    end = (anyio.current_time() if since is None else since) + seconds
    with anyio.CancelScope(deadline=end) as scope:
        yield
    if scope.cancelled_caught:
        raise TimeoutError(
            f"{what}: not done within {seconds:g} s, which is the total_timeout of the client"
            f"{waits.interrupted_after(end)}{waits.trouble}."
        )


async def limited_steps(
    items: AsyncGenerator[T], seconds: float, waits: Waits
) -> AsyncGenerator[T]:
    """The same items, each within the limit.

    Items that are empty, like a page without rows, are no step of the user's loop.
    """
    async with aclosing(items):
        since = anyio.current_time()
        while True:
            try:
                with limited(seconds, "A step of this loop", waits, since):
                    item = await anext(items)
            except StopAsyncIteration:
                return
            yield item
            if not isinstance(item, Sized) or len(item):
                since = anyio.current_time()
