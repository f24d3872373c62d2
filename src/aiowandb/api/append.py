"""`run.append()`: adds rows to the end of a run's history."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Protocol, Self

import anyio

from aiowandb.api.append_guard import RowSender, row_sender, send_heartbeat
from aiowandb.api.updating import read_run
from aiowandb.arguments import VALUES, FixedAttributes, checks, integer, optional
from aiowandb.errors import AiowandbError, CommError, ConflictError, TimeoutError, UsageError
from aiowandb.net import Session
from aiowandb.wire.appending import PendingRows, check_step
from aiowandb.wire.record import RunRecord

# How long a cancelled block may still take to report that to W&B.
CLOSING_SECONDS = 10.0
_END = "The end of Append"


def closing_seconds(session: Session) -> float:
    """The same for a client, which may have a shorter limit for each call."""
    return min(CLOSING_SECONDS, session.settings.total_timeout or CLOSING_SECONDS)


class Appendable(Protocol):
    """A run, as far as `Append` needs it."""

    @property
    def record(self) -> RunRecord: ...

    async def load(self) -> None: ...

    def _set_state(self, state: str) -> None: ...


class Append(FixedAttributes):
    """Adds rows to a run: call it with each row, inside of `async with`."""

    def __init__(
        self, run: Appendable, session: Session, state: str | None, token: str | None
    ) -> None:
        self._run = run
        self._session = session
        self._state = state
        self._token = token
        self._sender: RowSender | None = None
        self._added = self._skipped = 0
        # Why rows could not be sent. After a failure there is no second long wait, and after a
        # conflict the run is left to the other writer.
        self._failure: CommError | None = None
        # Rows that another task adds during a request must not count as sent with it.
        self._sending = anyio.Lock()

    @property
    def added(self) -> int:
        """The number of rows that W&B has acknowledged."""
        return self._sender.rows.added if self._sender else self._added

    @property
    def skipped(self) -> int:
        """The number of rows that were in the run already, added earlier with the same token."""
        return self._sender.rows.skipped if self._sender else self._skipped

    @checks()
    async def __aenter__(self) -> Self:
        if self._sender is not None:
            raise UsageError(
                "This append is entered already: add the rows inside of that `async with`."
            )
        # Offsets and steps must be current: the run may have been read long ago.
        ref = self._run.record.ref
        record = await read_run(self._session, ref)
        rows = PendingRows(record, state=self._state, token=self._token)
        self._failure = None
        self._sender = await row_sender(self._session, ref, rows)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            await self._leave(exc)
        except AiowandbError as error:
            self._note_added(error)
            raise
        if isinstance(exc, AiowandbError):
            self._note_added(exc)

    @checks(row=VALUES, step=optional(integer(0)))
    async def __call__(self, row: Mapping[str, Any], step: int | None = None) -> None:
        """Add a row at `step`, else at its own `_step`, else at the next step.

        Rows are sent in batches; a call that completes a batch waits until it is sent.
        """
        check_step(row, step)
        async with self._sending:
            with self._noting_failures() as sender:
                sender.rows.add(row, step)
                if sender.rows.is_full:
                    await sender.send()

    @checks()
    async def flush(self) -> None:
        """Send the rows so far. Without any, tell W&B that the run is still alive."""
        async with self._sending:
            with self._noting_failures() as sender:
                if sender.rows.waiting:
                    await sender.send()
                else:
                    await send_heartbeat(self._session, self._run.record.ref, sender.rows)

    async def _leave(self, exc: BaseException | None) -> None:
        try:
            if exc is None:
                await self._finish()
            else:
                await self._end_early(exc)
        finally:
            self._added, self._skipped, self._sender = self.added, self.skipped, None
            self._session.flush()
        if exc is None:
            await self._run.load()

    def _note_added(self, error: AiowandbError) -> None:
        """Say what need not be added again."""
        if self._added:
            error.add_note(f"W&B has acknowledged {self._added:,} of these rows.")

    async def _finish(self) -> None:
        """Send the last rows, and the final state of the run."""
        try:
            with self._session.limited(_END):
                await self._send_last()
        except BaseException as error:
            if isinstance(error, TimeoutError):
                self._failure = error
            await self._end_early(error)
            raise

    async def _send_last(self) -> None:
        async with self._sending:
            with self._noting_failures() as sender:
                sender.rows.require_all()
                if not sender.rows.is_over:
                    await sender.send(sender.rows.end_state(failed=False))

    async def _end_early(self, error: BaseException) -> None:
        """Send the rows from before the error, and that the run has failed."""
        if isinstance(self._failure, ConflictError):
            return
        if isinstance(error, Exception) and error is not self._failure:
            try:
                await self._send_failed(error)
            except anyio.get_cancelled_exc_class():
                await self._send_failed_soon(error)
                raise
        else:
            await self._send_failed_soon(error)

    async def _send_failed_soon(self, error: BaseException) -> None:
        """The same with a time limit, in a task that may be cancelled."""
        with anyio.move_on_after(closing_seconds(self._session), shield=True) as scope:
            await self._send_failed(error)
        if scope.cancelled_caught:
            error.add_note(f"The last rows for {self._run.record.ref} could not be sent in time.")

    async def _send_failed(self, error: BaseException) -> None:
        async with self._sending:
            try:
                with self._session.limited(_END), self._noting_failures() as sender:
                    rows = sender.rows
                    if rows.is_over:
                        return
                    end = rows.end_state(failed=True)
                    try:
                        await sender.send(end)
                    except CommError as refused:
                        is_final = refused.status is not None and 400 <= refused.status < 500
                        if not is_final or isinstance(refused, ConflictError):
                            raise
                        # W&B rejects the rows, but may accept the state.
                        lost = len(rows.waiting)
                        rows.drop()
                        await sender.send(end)
                        error.add_note(f"The last {lost:,} rows were not added: {refused}")
            except CommError as failure:
                error.add_note(f"The last rows for {self._run.record.ref} were not sent: {failure}")
            else:
                self._run._set_state(end)

    @contextmanager
    def _noting_failures(self) -> Iterator[RowSender]:
        if self._sender is None:
            raise UsageError("Rows are added inside `async with run.append() as log`.")
        if isinstance(self._failure, ConflictError):
            raise self._failure
        try:
            yield self._sender
        except CommError as error:
            self._failure = error
            raise
