"""`run.append()`: rows for the end of a run's history."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import anyio

from aiowandb.errors import NotFoundError, UsageError
from aiowandb.net import Session
from aiowandb.wire.appending import Appendix, StreamAnswer
from aiowandb.wire.runs import get_run

if TYPE_CHECKING:
    from aiowandb.api.run import Run

_STATES = ("finished", "failed", "running")


class Append:
    """Rows on their way to a run. Call it with each of them, inside `async with`."""

    def __init__(self, run: Run, session: Session, state: str | None) -> None:
        if state not in (None, *_STATES):
            raise UsageError(f"state must be one of {', '.join(_STATES)}, not {state!r}.")
        self._run = run
        self._session = session
        self._state = state
        self._rows: Appendix | None = None
        # While rows are on their way, those of another task must not count as sent.
        self._sending = anyio.Lock()

    async def __aenter__(self) -> Self:
        # Offsets and steps have to be those of this moment, not of when the run was read.
        found = (await self._session.ask(get_run(self._run.ref))).project
        if found is None or found.run is None:
            raise NotFoundError(f"Could not find run {self._run.ref}.")
        record = found.run
        record.entity, record.project = self._run.entity, self._run.project
        self._rows = Appendix(record, state=self._state)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # What was logged before an error is worth keeping; a cancelled block sends no more.
        try:
            if exc is None or isinstance(exc, Exception):
                await self._send()
        finally:
            self._rows = None
            self._session.flush()
        if exc is None:
            await self._run.load()

    async def __call__(self, row: Mapping[str, Any], step: int | None = None) -> None:
        """Add a row, at this step, at its own `_step`, or else at the one after the last.

        Waits now and then, while the rows so far are sent.
        """
        async with self._sending:
            if self._rows is None:
                raise UsageError("Rows are added inside `async with run.append() as log`.")
            self._rows.add(row, step)
            if self._rows.is_full:
                await self._send()

    async def _send(self) -> None:
        if self._rows:
            await self._session.post(
                f"Rows for {self._run.ref}", self._rows.path, self._rows.body(), StreamAnswer
            )
            self._rows.sent()
