"""Rows that are not in files yet: fetched in windows of steps, several a request."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from aiowandb.errors import CommError, NotFoundError
from aiowandb.history.columns import STEP
from aiowandb.history.decode import decode_rows
from aiowandb.history.windows import cut_again, is_whole
from aiowandb.net import BatchSize, Session, ask_together
from aiowandb.wire.history import RowTextsByAlias, Window, alias, history_pages

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

    def texts(found: RowTextsByAlias, index: int, window: Window) -> Texts | CommError:
        run = (found.project or {}).get(alias(index))
        if run is None:
            return NotFoundError(f"Run {window.ref} vanished while it was read.")
        return run.history or []

    answers: list[Texts | CommError] = []
    while len(answers) < len(windows):
        some = windows[len(answers) : len(answers) + size.now]
        answers += await ask_together(session, some, history_pages, texts, size)
    return [FirstAnswer(*pair) for pair in zip(windows, answers, strict=True)]
