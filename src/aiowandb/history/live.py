"""Rows that are not in files yet, fetched in windows of steps, several windows a request.

W&B answers a window with at most as many rows as were asked for, and draws a sample
where there are more. A window asks for one row more than a page has: if it comes back with
that many rows it may be a sample, and is split where the sample says that the rows are.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence

import anyio
import msgspec

from aiowandb.errors import CommError, NotFoundError
from aiowandb.history.decode import decode_rows
from aiowandb.history.plan import HistoryPlan
from aiowandb.net import BatchSize, Session, ask_all
from aiowandb.paths import RunRef
from aiowandb.wire.history import RowTextsByAlias, Window, alias, history_pages
from aiowandb.wire.rows import STEP

# How many values the rows of one run in one answer may have together.
VALUES_PER_ANSWER = 200_000
# How many bytes an answer about many runs may have. W&B limits requests, not bytes, but it must
# not take long either.
_GROUP_BYTES = 16 << 20
# W&B's count of the rows may be wrong. Where there are more, windows are bisected.
_MAX_WINDOWS = 4096

Texts = list[str]


def split(ref: RunRef, first: int, end: int, rows: int | None, page: int) -> list[Window]:
    """Windows over `[first, end)` of about a page each, if `rows` rows lie there evenly."""
    steps = end - first
    if steps <= 0:
        return []
    expected = steps if rows is None else max(1, min(rows, steps))
    # Dense rows fill a window exactly; where there are gaps, leave some room for chance.
    room = page if expected == steps else max(1, page * 4 // 5)
    pages = min(-(-expected // room), _MAX_WINDOWS)
    width = max(-(-steps // pages), min(page, steps))
    return [
        Window(ref, start, min(start + width, end), page + 1) for start in range(first, end, width)
    ]


def is_complete(window: Window, rows: int) -> bool:
    """Whether an answer with this many rows has all rows of the window."""
    return rows < window.samples


def bisect(window: Window, steps: Sequence[int]) -> list[Window]:
    """Two windows in place of one that was too full, halved by the steps of its sample."""
    if window.end - window.first == 1:
        # Too many rows at one step: the window cannot be halved, so ask for more rows.
        return [Window(window.ref, window.first, window.end, window.samples * 2)]
    seen = sorted(set(steps))
    middle = seen[len(seen) // 2] if seen else (window.first + window.end) // 2
    middle = min(max(middle, window.first + 1), window.end - 1)
    return [
        Window(window.ref, window.first, middle, window.samples),
        Window(window.ref, middle, window.end, window.samples),
    ]


class FirstAnswer(msgspec.Struct, frozen=True):
    """The answer to a window that was asked for together with others; maybe only a sample."""

    window: Window
    answer: Texts | CommError

    async def all_rows(self, session: Session) -> list[Texts]:
        """All rows of the window; if the answer was a sample, more requests are sent."""
        if isinstance(self.answer, CommError):
            raise self.answer
        if is_complete(self.window, len(self.answer)):
            return [self.answer] if self.answer else []
        steps = [step for row in decode_rows(self.answer) if isinstance(step := row.get(STEP), int)]
        pages: list[Texts] = []
        for smaller in bisect(self.window, steps):
            pages += await read_window(session, smaller)
        return pages


async def read_windows(
    session: Session, windows: Sequence[Window], size: BatchSize
) -> list[FirstAnswer]:
    """The first answers to windows of one project, in as few requests as possible."""

    def texts(found: RowTextsByAlias | None, index: int, window: Window) -> Texts | CommError:
        run = (found or {}).get(alias(index))
        if run is None:
            return NotFoundError(f"Run {window.ref} disappeared while it was read.")
        return run.history or []

    answers = await ask_all(session, windows, history_pages, texts, size)
    return [FirstAnswer(*pair) for pair in zip(windows, answers, strict=True)]


async def read_window(session: Session, window: Window) -> list[Texts]:
    """All rows of the window, in as many pages as they need."""
    (first,) = await read_windows(session, [window], BatchSize(1, 1))
    return await first.all_rows(session)


PlannedRun = tuple[RunRef, HistoryPlan | CommError, Window | None]


class WindowPrefetch:
    """Some planned runs; the windows of those that have one are fetched in one go.

    They are fetched when the first of them is taken, by `fetch` or by a request of their own.
    """

    def __init__(
        self,
        runs: list[PlannedRun],
        fetch: Callable[[], Awaitable[Sequence[FirstAnswer]]] | None = None,
    ) -> None:
        self.runs = runs
        self._fetch = fetch
        self.windows = {ref: window for ref, _, window in runs if window}
        self._answers: dict[RunRef, FirstAnswer] = {}
        self._fetching = anyio.Lock()
        self._is_fetched = False

    async def take(self, session: Session, ref: RunRef, size: BatchSize) -> FirstAnswer | None:
        """The answer to the run's window, once it is there; None if the run has no window."""
        if ref not in self.windows:
            return None
        async with self._fetching:
            if not self._is_fetched:
                windows = list(self.windows.values())
                found = self._fetch() if self._fetch else read_windows(session, windows, size)
                self._answers = {answer.window.ref: answer for answer in await found}
                self._is_fetched = True
        return self._answers.pop(ref, None)


def group_windows(runs: Iterable[PlannedRun], row_bytes: float = 0) -> Iterable[WindowPrefetch]:
    """The runs in their order, grouped so that no answer is too large.

    `row_bytes` is how many bytes a row had before, if that is known.
    """
    group: list[PlannedRun] = []
    total = 0.0
    for run in runs:
        size = _expected_bytes(run, row_bytes)
        if total and total + size > _GROUP_BYTES:
            yield WindowPrefetch(group)
            group, total = [], 0
        group.append(run)
        total += size
    yield WindowPrefetch(group)


def _expected_bytes(run: PlannedRun, row_bytes: float) -> float:
    _, plan, window = run
    if window is None or isinstance(plan, CommError):
        return 0
    return plan.bytes_of(min(window.samples, window.end - window.first), row_bytes)
