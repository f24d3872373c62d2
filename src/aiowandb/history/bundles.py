"""Runs of one project put together so that one request brings the few live rows of many."""

from __future__ import annotations

from collections.abc import Iterable

import anyio

from aiowandb.errors import CommError
from aiowandb.history.live import VALUES_AN_ANSWER, FirstAnswer, read_windows
from aiowandb.history.plan import HistoryPlan
from aiowandb.net import BatchSize, Session
from aiowandb.paths import RunRef
from aiowandb.wire.history import Window

Planned = tuple[RunRef, HistoryPlan | CommError, Window | None]


class Bundle:
    """Runs in their order; those with a window are asked for their live rows together."""

    def __init__(self, planned: list[Planned]) -> None:
        self.planned = planned
        self._windows = {ref: window for ref, _, window in planned if window}
        self._answers: dict[RunRef, FirstAnswer] = {}
        self._fetched = anyio.Event()

    async def fetch(self, session: Session, size: BatchSize) -> None:
        for answer in await read_windows(session, list(self._windows.values()), size):
            self._answers[answer.window.ref] = answer
        self._fetched.set()

    async def answer(self, ref: RunRef) -> FirstAnswer | None:
        """What the run's window was answered with, if it has one; given once."""
        if ref not in self._windows:
            return None
        await self._fetched.wait()
        return self._answers.pop(ref)


def bundles(planned: Iterable[Planned]) -> Iterable[Bundle]:
    """The runs in their order, in bundles whose answers are not too large."""
    some: list[Planned] = []
    values = 0
    for one in planned:
        size = _values(one)
        if values and values + size > VALUES_AN_ANSWER:
            yield Bundle(some)
            some, values = [], 0
        some.append(one)
        values += size
    yield Bundle(some)


def _values(one: Planned) -> int:
    _, plan, window = one
    if window is None or isinstance(plan, CommError):
        return 0
    rows = min(window.samples, window.end - window.first, plan.rows or window.samples)
    return rows * max(1, plan.keys)
