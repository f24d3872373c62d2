"""Detects a second writer of the same run, as W&B lets writers overwrite each other's rows.

The embedded W&B can reject rows that would not go to the end of the history. On other servers,
the end of the history is checked before each batch and after the last one. Another writer may
still get in between a check and its batch; then a later check of one of the two finds it.
"""

from __future__ import annotations

from typing import Protocol

import anyio

from aiowandb.errors import CommError, ConflictError, ServerError
from aiowandb.net import Session
from aiowandb.net.session import supports
from aiowandb.paths import RunRef
from aiowandb.wire.appending import PendingRows, StreamAnswer
from aiowandb.wire.history_end import HistoryEnd, history_end
from aiowandb.wire.runs import run_not_found

# W&B may need some time to count the rows that it has acknowledged.
MAX_LAG_SECONDS = 20.0
_NOT_ADDED = "the rest was not added, and no row of the other writer was overwritten."
_MAY_BE_LOST = "some of them, or of the other writer's, may have been overwritten since."


class RowSender(Protocol):
    """Sends batches of rows, and raises ConflictError if there is another writer."""

    rows: PendingRows

    async def send(self, end: str | None = None) -> None:
        """Send the buffered rows; with `end`, also finish the run in this state."""


async def row_sender(session: Session, ref: RunRef, rows: PendingRows) -> RowSender:
    """The sender that the server supports."""
    if await supports(session, "AIOWANDB_EXCLUSIVE_APPEND"):
        return ExclusiveSender(session, ref, rows)
    sender = WatchingSender(session, ref, rows)
    await sender.start()
    return sender


async def send_heartbeat(session: Session, ref: RunRef, rows: PendingRows) -> None:
    """Tell W&B that the run is alive: it marks silent runs as crashed."""
    await session.post(f"Heartbeat of {ref}", rows.path, {}, StreamAnswer)


class ExclusiveSender:
    """For servers that store rows at the end of the history or not at all."""

    def __init__(self, session: Session, ref: RunRef, rows: PendingRows) -> None:
        self.rows = rows
        self._session = session
        self._ref = ref

    async def send(self, end: str | None = None) -> None:
        try:
            await _post(self._session, self._ref, self.rows, end, exclusive=True)
        except CommError as error:
            if error.status != 409:
                raise
            raise _conflict(self._ref, self.rows, _NOT_ADDED, error) from error


class WatchingSender:
    """For other servers: checks the end of the history before each batch and after the last."""

    def __init__(self, session: Session, ref: RunRef, rows: PendingRows) -> None:
        self.rows = rows
        self._session = session
        self._ref = ref
        self._last: str | None = None
        self._is_unsure = False

    async def start(self) -> None:
        """Read the end of the history before the first row."""
        end = await self._end()
        if end.history_line_count == self.rows.line_count:
            self._last = end.last_line()

    async def send(self, end: str | None = None) -> None:
        if self.rows.waiting:
            await self._send_rows()
        if end is not None:
            await self._check_arrival()
            await _post(self._session, self._ref, self.rows, end)

    async def _send_rows(self) -> None:
        waiting = self.rows.waiting
        # A batch that failed may have been stored or not.
        uncertain = waiting if self._is_unsure else ()
        if (await self._end()).other_writer(self.rows.line_count, self._last, uncertain):
            raise _conflict(self._ref, self.rows, _NOT_ADDED)
        self._is_unsure = True
        await _post(self._session, self._ref, self.rows)
        self._is_unsure = False
        self._last = waiting[-1]

    async def _check_arrival(self) -> None:
        rows = self.rows
        pause, waited = 0.25, 0.0
        while rows.added:
            now = await self._end()
            if now.other_writer(rows.line_count, self._last):
                raise _conflict(self._ref, rows, _MAY_BE_LOST)
            counted = now.history_line_count
            if counted is None or counted >= rows.line_count:
                return
            if waited >= MAX_LAG_SECONDS:
                raise ServerError(
                    f"Rows for {self._ref}: W&B acknowledged {rows.added:,} rows, but its history"
                    f" has {counted:,} lines where it should have {rows.line_count:,}."
                )
            await anyio.sleep(pause)
            waited += pause
            pause = min(2 * pause, 4.0)

    async def _end(self) -> HistoryEnd:
        end = await self._session.ask(history_end(self._ref))
        if end is None:
            raise run_not_found(self._ref)
        return end


async def _post(
    session: Session,
    ref: RunRef,
    rows: PendingRows,
    end: str | None = None,
    *,
    exclusive: bool = False,
) -> None:
    body = rows.body(end=end, exclusive=exclusive)
    await session.post(f"Rows for {ref}", rows.path, body, StreamAnswer)
    rows.sent()


def _conflict(
    ref: RunRef, rows: PendingRows, rest: str, error: CommError | None = None
) -> ConflictError:
    return ConflictError(
        f"Another writer is adding rows to run {ref}. Of the rows of this append,"
        f" {rows.added:,} were stored; {rest}",
        error,
        status=error.status if error else None,
        operation=f"Rows for {ref}",
    )
