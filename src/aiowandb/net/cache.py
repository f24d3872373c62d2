"""Responses that are kept until they are flushed."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, TypeVar

import anyio

T = TypeVar("T")


class Answer(NamedTuple):
    """The data of a response, its size in bytes, and how many seconds W&B took for it.

    After more than one of the `tries`, W&B may have carried out a mutation more than once.
    """

    data: Any
    size: int
    seconds: float = 0.0
    tries: int = 1


class ResponseCache:
    """Responses by request. Beyond `max_bytes` the least recently used one is dropped.

    A request in progress is not sent again: its response is used for both.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._kept: OrderedDict[bytes, Answer] = OrderedDict()
        self._bytes = 0
        self._under_way: dict[bytes, anyio.Event] = {}
        # Until when those are kept that nobody has asked for yet.
        self._unused: dict[bytes, float] = {}
        self._flushes = 0

    async def get(self, request: bytes, ask: Callable[[], Awaitable[Answer]]) -> Any:
        """The data for this request; `ask` is called if it is not kept."""
        while not self.has(request) and request in self._under_way:
            await self._under_way[request].wait()
        if self.has(request):
            self._kept.move_to_end(request)
            self._unused.pop(request, None)
            return self._kept[request].data
        done = self._under_way[request] = anyio.Event()
        flushes = self._flushes
        try:
            answer = await ask()
        finally:
            del self._under_way[request]
            done.set()
        if flushes == self._flushes:
            self._keep(request, answer)
        return answer.data

    def has(self, request: bytes) -> bool:
        """Whether `get` would return a cached response."""
        if anyio.current_time() >= self._unused.get(request, math.inf):
            self._drop(request)
        return request in self._kept

    def keep_unused(self, request: bytes, answer: Answer, until: float) -> None:
        """Keep a response to a request that is expected, unless it is not used until then."""
        self._keep(request, answer)
        if request in self._kept:
            self._unused[request] = until

    def flush(self) -> None:
        """Drop all responses, and do not cache those of requests in progress."""
        self._flushes += 1
        self._kept.clear()
        self._unused.clear()
        self._bytes = 0

    def _keep(self, request: bytes, answer: Answer) -> None:
        self._drop(request)
        self._kept[request] = answer
        self._bytes += answer.size
        while self._bytes > self._max_bytes:
            self._drop(next(iter(self._kept)))

    def _drop(self, request: bytes) -> None:
        self._unused.pop(request, None)
        if dropped := self._kept.pop(request, None):
            self._bytes -= dropped.size
