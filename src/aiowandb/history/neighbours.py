"""Runs that were listed together, which programs usually read one after another in the same way.

So their plans are requested together, when the first of their histories is read, and the next runs
are read ahead; see `history/loops.py`. Nothing here keeps a run or its rows alive: a run without
references is not read ahead.
"""

from __future__ import annotations

import weakref
from collections.abc import AsyncGenerator, Callable, Hashable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

import anyio

from aiowandb.concurrency.tasks import Stream
from aiowandb.errors import CommError
from aiowandb.history.plan import HistoryPlan, plan_batch, plan_history, plan_with_rows
from aiowandb.net import BatchSize, Session
from aiowandb.paths import RunRef
from aiowandb.wire.history import Window
from aiowandb.wire.record import RunRecord

# How many seconds data that was requested ahead is used. W&B's SDK sends the rows of a live run
# every 15 seconds, so that newer rows could not be seen anyway.
FRESH_SECONDS = 15.0
# The most different calls for the same runs, each of which is a separate loop.
_LOOPS = 4


class Listed(Protocol):
    """A run in a list, with its position there."""

    _position: Position | None

    @property
    def record(self) -> RunRecord: ...


class Loop(Protocol):
    """The state of a call that is made for one run after another."""

    def drop(self) -> None: ...


L = TypeVar("L", bound=Loop)
R = TypeVar("R", bound=Listed)


class Neighbours:
    """The runs of one list, in its order."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.plan_size = plan_batch()
        self._loops: dict[Hashable, Any] = {}
        self._last: weakref.ref[RunPage] | None = None
        self._count = 0

    def add_page(self, runs: Sequence[Listed]) -> None:
        """Add runs, which follow the runs that were added before."""
        previous = _alive(self._last)
        page = RunPage(self, runs, self._count, previous)
        if previous:
            previous.next = weakref.ref(page)
        self._last = weakref.ref(page)
        self._count += len(runs)
        for index, run in enumerate(runs):
            run._position = Position(page, index)

    def has(self, run: Listed) -> bool:
        return run._position is not None and run._position.neighbours is self

    def ahead(self, listing: AsyncGenerator[list[R]]) -> Stream[list[R]]:
        """The pages, which are added one after another. Leaving the loop stops reading ahead."""

        async def added() -> AsyncGenerator[list[R]]:
            async with aclosing(listing) as pages:
                async for page in pages:
                    self.add_page(page)
                    yield page

        return self.session.ahead(added(), self.drop)

    def loop(self, call: Hashable, make: Callable[[], L]) -> L:
        """The loop that makes this call for one run after another."""
        loop: L = self._loops.pop(call, None) or make()
        self._loops[call] = loop
        while len(self._loops) > _LOOPS:
            self._loops.pop(next(iter(self._loops))).drop()
        return loop

    def drop(self) -> None:
        """Stop reading ahead, until the next loop."""
        for loop in self._loops.values():
            loop.drop()
        self._loops.clear()


class RunPage:
    """The runs of one response of W&B, while there are references to one of them."""

    def __init__(
        self,
        neighbours: Neighbours,
        runs: Sequence[Listed],
        first: int,
        previous: RunPage | None,
    ) -> None:
        self.neighbours = neighbours
        self.first = first
        self.next: weakref.ref[RunPage] | None = None
        self.previous = weakref.ref(previous) if previous else None
        self._runs = [weakref.ref(run) for run in runs]
        self._plans: dict[Hashable, SharedPlans] = {}
        self._is_new = True

    def plans(self, call: Hashable) -> SharedPlans:
        """The plans for a loop. Each loop has its own, because each plan is used once."""
        if (found := self._plans.get(call)) is None:
            session, size = self.neighbours.session, self.neighbours.plan_size
            found = self._plans[call] = SharedPlans(session, size, is_first=self._is_new)
            self._is_new = False
            while len(self._plans) > _LOOPS:
                del self._plans[next(iter(self._plans))]
        return found

    def __len__(self) -> int:
        return len(self._runs)

    def run(self, index: int) -> Listed | None:
        return self._runs[index]()

    def records(self) -> list[RunRecord]:
        """The runs that still have references."""
        return [run.record for each in self._runs if (run := each())]


@dataclass(frozen=True, slots=True)
class Position:
    """The position of a run in a list of runs."""

    page: RunPage
    index: int

    @property
    def number(self) -> int:
        return self.page.first + self.index

    @property
    def neighbours(self) -> Neighbours:
        return self.page.neighbours

    def after(self) -> Iterator[tuple[Position, RunRecord]]:
        """The runs after this one that are known already and still have references."""
        page, index = self.page, self.index + 1
        while True:
            for number in range(index, len(page)):
                if run := page.run(number):
                    yield Position(page, number), run.record
            following = _alive(page.next)
            if following is None:
                return
            page, index = following, 0

    def next_page(self) -> tuple[Position, RunRecord] | None:
        """The first run of the next page, if it is known already."""
        page = _alive(self.page.next)
        return next(Position(page, -1).after(), None) if page else None

    def follows(self, number: int) -> bool:
        """Whether no run between that one and this one has references."""
        page, end = self.page, self.index
        while number < self.number:
            first = max(0, number + 1 - page.first)
            if any(page.run(index) for index in range(first, end)):
                return False
            before = _alive(page.previous)
            if before is None or number >= page.first - 1:
                return True
            page, end = before, len(before)
        return False


def _alive(page: weakref.ref[RunPage] | None) -> RunPage | None:
    return page() if page else None


class _Shared(NamedTuple):
    plan: HistoryPlan | CommError
    until: float
    changes: int


class SharedPlans:
    """The plans of the runs of a page: each is used once, and only for a short time."""

    def __init__(self, session: Session, size: BatchSize, *, is_first: bool) -> None:
        self._session = session
        self._size = size
        self._plans: dict[RunRef, _Shared] = {}
        self._is_first = is_first
        self._asking = anyio.Lock()

    def known(self, ref: RunRef) -> HistoryPlan | CommError | None:
        """The plan of the run, if there is a recent one."""
        found = self._plans.get(ref)
        if found is None:
            return None
        if anyio.current_time() < found.until and found.changes == self._session.changes:
            return found.plan
        del self._plans[ref]
        return None

    async def take(self, ref: RunRef, others: Sequence[RunRef], *, is_loop: bool) -> HistoryPlan:
        """The plan of the run. If it has to be requested, those of the others are included.

        This is done when the first history of the page is read; later, only in a loop.
        """
        if self._is_needed(ref, is_loop=is_loop):
            async with self._asking:
                if self._is_needed(ref, is_loop=is_loop):
                    refs = dict.fromkeys((ref, *others))
                    unknown = [other for other in refs if self.known(other) is None]
                    if len(unknown) > 1:
                        await self.ask([(other, None) for other in unknown])
        plan = self.known(ref)
        if plan is None:
            return await plan_history(self._session, ref)
        del self._plans[ref]
        if isinstance(plan, CommError):
            raise plan
        return plan

    def _is_needed(self, ref: RunRef, *, is_loop: bool) -> bool:
        return (is_loop or self._is_first) and self.known(ref) is None

    async def ask(self, runs: Sequence[tuple[RunRef, Window | None]]) -> list[list[str]]:
        """Plan all these runs; returns the present rows of their windows."""
        until, changes = anyio.current_time() + FRESH_SECONDS, self._session.changes
        found = await plan_with_rows(self._session, runs, self._size)
        for (ref, _), (plan, _) in zip(runs, found, strict=True):
            self._plans[ref] = _Shared(plan, until, changes)
        self._is_first = False
        return [rows for _, rows in found]
