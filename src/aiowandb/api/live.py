"""`api.start_run()`: logs a run as it happens, from an asyncio or trio program."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

import anyio

from aiowandb.api.append import Append, closing_seconds
from aiowandb.api.creating import make_run
from aiowandb.api.defaults import Defaults
from aiowandb.api.run import Run
from aiowandb.arguments import NAMES, VALUES, FixedAttributes, checks, integer, optional, text
from aiowandb.concurrency.background import BackgroundTask
from aiowandb.errors import TimeoutError, UsageError
from aiowandb.net import Session
from aiowandb.paths import check_project_name, check_run_id, parse_project_path
from aiowandb.wire.appending import check_step, complete_row, line_of
from aiowandb.wire.record import RunRecord
from aiowandb.wire.writing import save_run

# Rows become visible after this long, in as few requests as W&B likes from a run.
SECONDS_BETWEEN_BATCHES = 5.0
# W&B takes a run for crashed that is silent for some minutes.
SECONDS_BETWEEN_HEARTBEATS = 30.0
# A batch, and as many rows more before `log` waits for W&B.
_BATCH_ROWS = 1_000
_MOST_WAITING = 2 * _BATCH_ROWS


class LiveRun(Run):
    """A run that is under way, inside of `async with api.start_run() as run`."""

    def __init__(self, record: RunRecord, session: Session) -> None:
        super().__init__(record, session)
        self._append = Append(self, session, "finished", None)
        self._waiting: deque[dict[str, Any]] = deque()
        self._started = time.time()
        self._last_logged = record.last_step
        self._failure: Exception | None = None
        self._is_over = False
        # Set when the task that sends has something to do, and when it has done some of it.
        self._wake, self._room, self._ended = anyio.Event(), anyio.Event(), anyio.Event()
        self._task: BackgroundTask | None = None

    @property
    def added(self) -> int:
        """The number of rows that W&B has acknowledged."""
        return self._append.added

    @checks(row=VALUES, step=optional(integer(0)))
    async def log(self, row: Mapping[str, Any], step: int | None = None) -> None:
        """Add a row at `step`, else at its own `_step`, else at the next step.

        Rows are sent in the background. If W&B is slower than the program, this waits for it; if
        rows could not be sent, this raises.
        """
        check_step(row, step)
        while self._failure is None and len(self._waiting) >= _MOST_WAITING:
            await self._room.wait()
        if self._failure is not None:
            raise self._failure
        if self._task is None or self._is_over:
            raise UsageError("Rows are logged inside of `async with api.start_run() as run`.")
        now = time.time()
        complete = complete_row(row, step, self._last_logged, now, now - self._started)
        line_of(complete)  # raises here, and not later in the background
        self._last_logged = complete["_step"]
        self._waiting.append(complete)
        if len(self._waiting) >= _BATCH_ROWS:
            self._wake.set()

    async def _begin(self) -> None:
        await self._append.__aenter__()
        self._task = self._session.start(self._send_rows)

    async def _end(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._is_over = True
        self._wake.set()
        try:
            if exc is None or isinstance(exc, Exception):
                with self._session.limited("The end of LiveRun"):
                    await self._ended.wait()
            else:  # cancelled: the rows so far are still sent, but not for ever
                with anyio.move_on_after(closing_seconds(self._session), shield=True):
                    await self._ended.wait()
        except BaseException as ended:
            await self._stop_task()
            await self._append.__aexit__(type(ended), ended, ended.__traceback__)
            if exc is not None and isinstance(ended, TimeoutError):
                exc.add_note(str(ended))  # the error of the block goes first
                return
            raise
        await self._stop_task()
        if exc is None and self._failure is not None:
            failure = self._failure
            await self._append.__aexit__(type(failure), failure, failure.__traceback__)
            raise failure
        await self._append.__aexit__(exc_type, exc, traceback)

    async def _stop_task(self) -> None:
        if self._task is not None:
            await self._task.stop()

    async def _send_rows(self) -> None:
        """In a task of its own: rows in batches, and heartbeats while there are none."""
        try:
            last_sent = anyio.current_time()
            while not self._is_over:
                with anyio.move_on_after(SECONDS_BETWEEN_BATCHES):
                    await self._wake.wait()
                self._wake = anyio.Event()
                has_rows = bool(self._waiting)
                await self._hand_over()
                is_silent = anyio.current_time() - last_sent >= SECONDS_BETWEEN_HEARTBEATS
                if has_rows or is_silent:
                    await self._append.flush()
                    last_sent = anyio.current_time()
            await self._hand_over()
        except Exception as error:
            self._failure = error  # `log` or the end of the block raises it
        finally:
            self._room.set()
            self._ended.set()

    async def _hand_over(self) -> None:
        while self._waiting:
            await self._append(self._waiting[0])
            self._waiting.popleft()
        self._room.set()
        self._room = anyio.Event()


class RunStart(FixedAttributes):
    """What `api.start_run()` returns, to be entered with `async with`."""

    def __init__(self, session: Session, make: Callable[[], Awaitable[RunRecord]]) -> None:
        self._session = session
        self._make = make
        self._run: LiveRun | None = None

    @checks()
    async def __aenter__(self) -> LiveRun:
        if self._run is not None:
            raise UsageError("This run was started before: call start_run() for another one.")
        self._run = LiveRun(await self._make(), self._session)
        await self._run._begin()
        return self._run

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._run is not None:
            await self._run._end(exc_type, exc, traceback)


class RunStarts(FixedAttributes):
    """What a client can log as it happens."""

    _session: Session
    _defaults: Defaults

    @checks(
        path=optional(text("a path like 'entity/project', or a URL")),
        run_id=optional(text("the id of a run")),
        name=optional(text("a string", empty=True)),
        config=optional(VALUES),
        tags=optional(NAMES),
        notes=optional(text("a string", empty=True)),
        group=optional(text("a string", empty=True)),
        job_type=optional(text("a string", empty=True)),
    )
    def start_run(
        self,
        path: str | None = None,
        *,
        run_id: str | None = None,
        name: str | None = None,
        config: Mapping[str, Any] | None = None,
        tags: Sequence[str] | None = None,
        notes: str | None = None,
        group: str | None = None,
        job_type: str | None = None,
    ) -> RunStart:
        """Start a run in a project, which is created if it does not exist, and log to it.

        Rows are sent in the background every few seconds, and heartbeats without rows. After
        the block the run is `finished`, or `failed` if it ends with an exception; the rows
        before it are kept. If the process is killed, W&B marks the run as `crashed`. A run
        with this id that exists is a `ConflictError`.

        >>> async with api.start_run("me/mnist", config={"lr": 0.1}) as run:
        ...     for step in range(100):
        ...         await run.log({"loss": 1 / (step + 1)})
        """
        if run_id is not None:
            check_run_id(run_id)
        if path is not None:
            check_project_name(parse_project_path(path).project or "", "path")

        async def make() -> RunRecord:
            entity, project = await self._defaults.project(path)
            record = await make_run(
                self._session,
                entity,
                project,
                run_id,
                name=name,
                config=config,
                tags=list(tags) if tags is not None else None,
                exist_ok=False,
            )
            words = {"notes": notes, "groupName": group, "jobType": job_type}
            given = {field: word for field, word in words.items() if word is not None}
            if given:
                record = await self._session.ask(save_run({"id": record.storage_id} | given))
            record.entity, record.project = entity, project
            return record

        return RunStart(self._session, make)
