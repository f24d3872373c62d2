"""Many small queries in few requests, as many in one as the server answers quickly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from aiowandb.errors import (
    AuthenticationError,
    CommError,
    ConnectError,
    GraphQLError,
    IncompleteHistoryError,
    NotFoundError,
    RateLimitError,
    ServerError,
    StalledError,
    TimeoutError,
    TooLargeError,
)
from aiowandb.net.session import Session
from aiowandb.wire.graphql import Operation
from aiowandb.wire.server import server_features

Q = TypeVar("Q")
R = TypeVar("R")
S = TypeVar("S")

# After one of these, no other request will succeed either.
FATAL = (AuthenticationError, ConnectError, RateLimitError, StalledError)
# Only a W&B that answers can be the reason for one of these.
_ANSWERS = (TooLargeError, NotFoundError, IncompleteHistoryError)
_DISK_FULL = 507
# A batch that is answered within so many seconds may grow.
_FAST_S = 2.0
# Refusals that may be due to the size of the batch: too large, too complex.
_TOO_LARGE = frozenset({400, 413, 422})


class BatchSize:
    """How many queries one request carries: doubles with fast answers, halves with failures."""

    def __init__(self, first: int, limit: int) -> None:
        self.now = first
        self._limit = limit

    def answered(self, asked: int, seconds: float) -> None:
        if asked >= self.now and seconds < _FAST_S:
            self.now = min(self._limit, self.now * 2)

    def refused(self, asked: int) -> None:
        self.now = max(1, min(self.now, asked) // 2)


async def ask_batched(
    session: Session,
    questions: Sequence[Q],
    operation: Callable[[Sequence[Q]], Operation[S]],
    pick: Callable[[S, int, Q], R],
    size: BatchSize,
    max_bytes: int | None = None,
) -> list[R | CommError]:
    """The answer to each question, or the error that it fails with when it is asked alone.

    `operation` asks for several at once; `pick` takes one answer out of the response, given
    the index of its question in the batch and the question itself. A response of more than
    `max_bytes` bytes is not read to its end, and counts as failed.
    """
    alone = len(questions) == 1
    try:
        answer = await session.answer(operation(questions), retry=alone, max_bytes=max_bytes)
    except FATAL:
        raise
    except CommError as error:
        if alone:
            if await is_server_down(session, error):
                raise
            return [error]
        size.refused(len(questions))
        middle = len(questions) // 2
        return [
            *await ask_batched(session, questions[:middle], operation, pick, size, max_bytes),
            *await ask_batched(session, questions[middle:], operation, pick, size, max_bytes),
        ]
    size.answered(len(questions), answer.seconds)
    return [pick(answer.data, i, question) for i, question in enumerate(questions)]


async def is_server_down(session: Session, error: CommError) -> bool:
    """Whether W&B answers nothing at all, or has no room on its disk for anything.

    The error says nothing about this request then: others would fail as well.
    """
    if isinstance(error, FATAL) or error.status == _DISK_FULL:
        return True
    if not _is_unresponsive(error):
        return False
    try:
        await session.answer(server_features(), retry=False)
    except CommError as again:
        return isinstance(again, FATAL) or _is_unresponsive(again)
    return False


async def ask_all(
    session: Session,
    questions: Sequence[Q],
    operation: Callable[[Sequence[Q]], Operation[S]],
    pick: Callable[[S, int, Q], R],
    size: BatchSize,
    max_bytes: int | None = None,
) -> list[R | CommError]:
    """As `ask_batched`, for more questions than fit into one request."""
    answers: list[R | CommError] = []
    while len(answers) < len(questions):
        batch = questions[len(answers) : len(answers) + size.now]
        answers += await ask_batched(session, batch, operation, pick, size, max_bytes)
    return answers


async def ask_page(
    session: Session, operation: Callable[[int], Operation[S]], size: BatchSize, least: int
) -> S:
    """A page of a list, with as many items as the server answers quickly, at least `least`."""
    while True:
        asked = max(size.now, least)
        try:
            answer = await session.answer(operation(asked), retry=asked == least)
        except CommError as error:
            if asked == least or not _may_be_too_large(error):
                raise
            size.refused(asked)
        else:
            size.answered(asked, answer.seconds)
            data: S = answer.data
            return data


def _may_be_too_large(error: CommError) -> bool:
    return (
        isinstance(error, ServerError | TimeoutError | GraphQLError) or error.status in _TOO_LARGE
    )


def _is_unresponsive(error: CommError) -> bool:
    # Without an operation it was raised where rows are decoded, so they had come.
    if isinstance(error, _ANSWERS) or error.operation is None:
        return False
    return isinstance(error, ServerError | TimeoutError) or error.status is None
