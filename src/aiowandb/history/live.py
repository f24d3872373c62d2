"""Rows that are not in files yet, fetched in windows of steps, several windows a request.

W&B answers a window with at most as many rows as were asked for, and draws a sample
where there are more. A window asks for one row more than a page has: if it comes back with
that many rows it may be a sample, and is split where the sample says that the rows are.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing

import anyio
import msgspec

from aiowandb.errors import CommError, NotFoundError, TooLargeError
from aiowandb.history.decode import decode_rows
from aiowandb.history.plan import HistoryPlan
from aiowandb.net import BatchSize, Session, ask_all
from aiowandb.paths import RunRef
from aiowandb.wire.history import RowTextsByAlias, Window, alias, history_pages
from aiowandb.wire.rows import STEP

# How many values the rows of one run in one answer may have together.
VALUES_PER_ANSWER = 200_000
# How many windows the first request asks for.
WINDOWS_AT_FIRST = 50
# How many bytes an answer about many runs may have. W&B limits requests, not bytes, but it must
# not take long either.
_GROUP_BYTES = 16 << 20
# W&B's count of the rows may be wrong. Where there are more, windows are bisected.
_MAX_WINDOWS = 4096
# The status with which a server refuses to answer at such length.
_TOO_LARGE = 413

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

    @property
    def texts(self) -> Texts:
        """The rows of the answer, all or a sample."""
        return [] if isinstance(self.answer, CommError) else self.answer

    @property
    def is_complete(self) -> bool:
        return not isinstance(self.answer, CommError) and is_complete(self.window, len(self.answer))

    @property
    def is_too_large(self) -> bool:
        """Whether the rows take more bytes than a response may have: fewer of them may not."""
        is_size = isinstance(self.answer, TooLargeError) or (
            isinstance(self.answer, CommError) and self.answer.status == _TOO_LARGE
        )
        return is_size and self.window.end - self.window.first > 1

    async def rows(self, session: Session) -> AsyncGenerator[Texts]:
        """All rows of the window in their order, in pieces of one response each.

        If the answer was a sample, or too large, more requests are sent.
        """
        if self.is_complete:
            if self.texts:
                yield self.texts
            return
        for smaller in bisect(self.window, self._steps()):
            (first,) = await read_windows(session, [smaller], BatchSize(1, 1))
            async with aclosing(first.rows(session)) as pieces:
                async for texts in pieces:
                    yield texts

    def _steps(self) -> list[int]:
        """The steps of the sample, if the answer is one."""
        if isinstance(self.answer, CommError) and not self.is_too_large:
            raise self.answer
        rows = decode_rows(self.texts)
        return [step for row in rows if isinstance(step := row.get(STEP), int)]


def window_batch() -> BatchSize:
    """How many windows, of different runs, to ask for in one request."""
    return BatchSize(WINDOWS_AT_FIRST, 100)


async def read_windows(
    session: Session, windows: Sequence[Window], size: BatchSize
) -> list[FirstAnswer]:
    """The first answers to windows of one project, in as few requests as possible."""

    def texts(found: RowTextsByAlias | None, index: int, window: Window) -> Texts | CommError:
        run = (found or {}).get(alias(index))
        if run is None:
            return NotFoundError(f"Run {window.ref} disappeared while it was read.")
        return run.history or []

    answers = await ask_all(
        session, windows, history_pages, texts, size, max_bytes=session.memory.response_bytes
    )
    return [FirstAnswer(*pair) for pair in zip(windows, answers, strict=True)]


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
