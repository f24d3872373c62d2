"""Rows that are not in files yet, fetched in windows of steps, several a request.

W&B answers a window with at most as many rows as were asked for, and draws a sample
where there are more. Asked for one row more than a page has, a window that comes back
with that many rows is not known to be complete: it is split where its sample says that the
rows are, and asked again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import anyio
import msgspec

from aiowandb.errors import CommError, NotFoundError
from aiowandb.history.decode import decode_rows
from aiowandb.history.plan import HistoryPlan
from aiowandb.net import BatchSize, Session, ask_batched
from aiowandb.paths import RunRef
from aiowandb.wire.history import RowTextsByAlias, Window, alias, history_pages
from aiowandb.wire.rows import STEP

# W&B's count of the rows may be wrong. Where there are more, windows are cut again.
_MOST = 4096


def cut(ref: RunRef, first: int, end: int, rows: int | None, page: int) -> list[Window]:
    """Windows over `[first, end)` of about a page each, if `rows` rows lie there evenly."""
    steps = end - first
    if steps <= 0:
        return []
    expected = steps if rows is None else max(1, min(rows, steps))
    # Dense rows fill a window exactly; where there are gaps, chance needs some room.
    room = page if expected == steps else max(1, page * 4 // 5)
    pages = min(-(-expected // room), _MOST)
    width = max(-(-steps // pages), min(page, steps))
    return [
        Window(ref, start, min(start + width, end), page + 1) for start in range(first, end, width)
    ]


def is_whole(window: Window, rows: int) -> bool:
    """Whether an answer of so many rows is all that the window holds."""
    return rows < window.samples


def cut_again(window: Window, steps: Sequence[int]) -> list[Window]:
    """Smaller windows in place of one that was too full, by the steps of its sample."""
    if window.end - window.first == 1:
        # So many rows at one step: nothing is left to cut, so ask for more of them.
        return [Window(window.ref, window.first, window.end, window.samples * 2)]
    seen = sorted(set(steps))
    middle = seen[len(seen) // 2] if seen else (window.first + window.end) // 2
    middle = min(max(middle, window.first + 1), window.end - 1)
    return [
        Window(window.ref, window.first, middle, window.samples),
        Window(window.ref, middle, window.end, window.samples),
    ]


# How many values the rows in one answer may have together.
VALUES_AN_ANSWER = 200_000

Texts = list[str]


class FirstAnswer(msgspec.Struct, frozen=True):
    """What a window was answered with when it was asked for together with others."""

    window: Window
    answer: Texts | CommError

    async def all_rows(self, session: Session) -> list[Texts]:
        """The window's rows, also where the answer was but a sample of them."""
        if isinstance(self.answer, CommError):
            raise self.answer
        if is_whole(self.window, len(self.answer)):
            return [self.answer] if self.answer else []
        steps = [step for row in decode_rows(self.answer) if isinstance(step := row.get(STEP), int)]
        pages: list[Texts] = []
        for smaller in cut_again(self.window, steps):
            pages += await read_window(session, smaller)
        return pages


async def read_window(session: Session, window: Window) -> list[Texts]:
    """All rows of the window, in as many pages as they need."""
    (first,) = await read_windows(session, [window], BatchSize(1, 1))
    return await first.all_rows(session)


async def read_windows(
    session: Session, windows: Sequence[Window], size: BatchSize
) -> list[FirstAnswer]:
    """The first answers to windows of one project, in as few requests as go."""

    def texts(found: RowTextsByAlias | None, index: int, window: Window) -> Texts | CommError:
        run = (found or {}).get(alias(index))
        if run is None:
            return NotFoundError(f"Run {window.ref} vanished while it was read.")
        return run.history or []

    answers: list[Texts | CommError] = []
    while len(answers) < len(windows):
        some = windows[len(answers) : len(answers) + size.now]
        answers += await ask_batched(session, some, history_pages, texts, size)
    return [FirstAnswer(*pair) for pair in zip(windows, answers, strict=True)]


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
