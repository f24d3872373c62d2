"""Many small questions in few requests: as many at a time as the server answers with ease."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from aiowandb.errors import (
    AuthenticationError,
    CommError,
    ConnectError,
    GraphQLError,
    RateLimitError,
    ServerError,
    StalledError,
    TimeoutError,
)
from aiowandb.net.session import Session
from aiowandb.wire.graphql import Operation
from aiowandb.wire.server import server_features

Q = TypeVar("Q")
R = TypeVar("R")
S = TypeVar("S", bound=msgspec.Struct)

# With these nothing else will succeed either.
FATAL = (AuthenticationError, ConnectError, RateLimitError, StalledError)
# An answer that came within so many seconds was no trouble to the server.
_EASY = 2.0
# Refusals that may be owed to how much was asked at once: too large, too complex.
_TOO_MUCH = frozenset({400, 413, 422})


class BatchSize:
    """How many questions one request carries: grows with easy answers, halves with failures."""

    def __init__(self, first: int, most: int) -> None:
        self.now = first
        self._most = most

    def answered(self, asked: int, seconds: float) -> None:
        if asked >= self.now and seconds < _EASY:
            self.now = min(self._most, self.now * 2)

    def refused(self, asked: int) -> None:
        self.now = max(1, min(self.now, asked) // 2)


async def ask_together(
    session: Session,
    questions: Sequence[Q],
    operation: Callable[[Sequence[Q]], Operation[S]],
    pick: Callable[[S, int, Q], R],
    size: BatchSize,
) -> list[R | CommError]:
    """What each question is answered with, or the error that it fails with when asked alone.

    `operation` asks several at once; `pick` takes out of their answer that to one, given its
    place among those that were asked and the question itself.
    """
    alone = len(questions) == 1
    try:
        answer = await session.answer(operation(questions), patient=alone)
    except FATAL:
        raise
    except CommError as error:
        if alone:
            if await is_everybodys(session, error):
                raise
            return [error]
        size.refused(len(questions))
        middle = len(questions) // 2
        return [
            *await ask_together(session, questions[:middle], operation, pick, size),
            *await ask_together(session, questions[middle:], operation, pick, size),
        ]
    size.answered(len(questions), answer.seconds)
    return [pick(answer.data, i, question) for i, question in enumerate(questions)]


async def is_everybodys(session: Session, error: CommError) -> bool:
    """Whether no question is at fault: W&B has nothing to say to any of them."""
    if isinstance(error, FATAL):
        return True
    if not _says_nothing(error):
        return False
    try:
        await session.answer(server_features(), patient=False)
    except CommError as again:
        return isinstance(again, FATAL) or _says_nothing(again)
    return False


async def ask_page(
    session: Session, operation: Callable[[int], Operation[S]], size: BatchSize, least: int
) -> S:
    """A page of a list, of as many items as the server gives with ease, or of the `least`."""
    while True:
        asked = max(size.now, least)
        try:
            answer = await session.answer(operation(asked), patient=asked == least)
        except CommError as error:
            if asked == least or not _may_be_too_much(error):
                raise
            size.refused(asked)
        else:
            size.answered(asked, answer.seconds)
            data: S = answer.data
            return data


def _may_be_too_much(error: CommError) -> bool:
    return isinstance(error, ServerError | TimeoutError | GraphQLError) or error.status in _TOO_MUCH


def _says_nothing(error: CommError) -> bool:
    return isinstance(error, ServerError | TimeoutError) or error.status is None
