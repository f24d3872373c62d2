"""What W&B has answered already, kept until it is forgotten."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, TypeVar

import anyio

T = TypeVar("T")


class Answer(NamedTuple):
    """An answer's data, how many bytes it came in, and how many seconds W&B took for it.

    Where more `tries` were made than one, W&B may have done more than once what it was told.
    """

    data: Any
    size: int
    seconds: float = 0.0
    tries: int = 1


class Answers:
    """Answers by question. Beyond `max_bytes` the one that was used longest ago goes.

    Whoever asks what is being asked already waits for that answer.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._kept: OrderedDict[bytes, Answer] = OrderedDict()
        self._bytes = 0
        self._asked: dict[bytes, anyio.Event] = {}
        self._flushes = 0

    async def get(self, question: bytes, ask: Callable[[], Awaitable[Answer]]) -> Any:
        """The data for this question, asked only if it has to be."""
        while (kept := self._kept.get(question)) is None and question in self._asked:
            await self._asked[question].wait()
        if kept is not None:
            self._kept.move_to_end(question)
            return kept.data
        done = self._asked[question] = anyio.Event()
        flushes = self._flushes
        try:
            answer = await ask()
        finally:
            del self._asked[question]
            done.set()
        if flushes == self._flushes:
            self._keep(question, answer)
        return answer.data

    def flush(self) -> None:
        """Forget everything, also what is being asked right now."""
        self._flushes += 1
        self._kept.clear()
        self._bytes = 0

    def _keep(self, question: bytes, answer: Answer) -> None:
        self._kept[question] = answer
        self._bytes += answer.size
        while self._bytes > self._max_bytes:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= oldest.size
