"""How many requests may be under way at once, and when none may."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio


class Limiter:
    """A bound on concurrency for a whole session, with a pause that holds everybody."""

    def __init__(self, max_concurrency: int) -> None:
        self._places = anyio.Semaphore(max_concurrency)
        self._paused_until = 0.0

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Hold one place for the length of one request."""
        async with self._places:
            # A pause may be prolonged while it is slept through.
            while anyio.current_time() < self._paused_until:  # noqa: ASYNC110
                await anyio.sleep_until(self._paused_until)
            yield

    def pause(self, seconds: float) -> None:
        """Start no request for so long: the server said that it has had enough."""
        self._paused_until = max(self._paused_until, anyio.current_time() + seconds)
