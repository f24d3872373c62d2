"""Background tasks, which belong to the event loop and not to the task that started them.

A task group of anyio has to be left by the task that has entered it. Fixtures, generators and
applications often begin in one task and end in another: they must not hold a task group.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextvars import ContextVar, copy_context
from typing import Any, TypeVarTuple

import anyio

Args = TypeVarTuple("Args")

# The background tasks that this code runs in: a task cannot wait for its own end.
_inside: ContextVar[tuple[BackgroundTask, ...]] = ContextVar("_inside", default=())


def current_loop() -> Any | None:
    """The running event loop: a trio token, or asyncio's loop; None outside of one."""
    # If trio is not imported, it is not running.
    trio = sys.modules.get("trio")
    # It may be being imported by another thread, and then it runs nothing yet.
    lowlevel = getattr(trio, "lowlevel", None)
    if lowlevel is not None and lowlevel.in_trio_task():
        return lowlevel.current_trio_token()
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def call_soon(loop: Any, function: Callable[[], object]) -> None:
    """Call the function in the event loop, from any thread. A RuntimeError if it has ended."""
    if isinstance(loop, asyncio.AbstractEventLoop):
        loop.call_soon_threadsafe(function)
    else:
        loop.run_sync_soon(function)


class BackgroundTask:
    """A task that can be stopped from any other task of the event loop."""

    def __init__(self, at_end: Callable[[], object]) -> None:
        self._at_end = at_end
        self._scope = anyio.CancelScope()
        self._ended = anyio.Event()

    @property
    def is_stopped(self) -> bool:
        """Whether it has ended or is about to."""
        return self._ended.is_set() or self._scope.cancel_called

    def cancel(self) -> None:
        self._scope.cancel()

    def cancel_at(self, time: float) -> None:
        """Cancel it at this time of the event loop's clock; a time given before is forgotten."""
        self._scope.deadline = time

    async def stop(self) -> None:
        """Cancel it and wait until it has ended, even if the caller is cancelled."""
        self.cancel()
        if self in _inside.get():
            return
        with anyio.CancelScope(shield=True):
            await self._ended.wait()

    async def _run(self, work: Callable[[*Args], Awaitable[object]], *args: *Args) -> None:
        _inside.set((*_inside.get(), self))
        with self._scope:
            await work(*args)

    def _end(self) -> None:
        self._at_end()
        self._ended.set()


class BackgroundTasks:
    """Tasks that run until they end, or until this is closed."""

    def __init__(self) -> None:
        # asyncio keeps no references to tasks.
        self._tasks: dict[BackgroundTask, object] = {}

    def start(
        self,
        work: Callable[[*Args], Awaitable[object]],
        *args: *Args,
        at_end: Callable[[], object] = lambda: None,
    ) -> BackgroundTask:
        """Run `work` in a task. It must handle its own errors: they are not raised anywhere.

        `at_end` is called in any case, even if the task is cancelled before it has begun.
        """
        loop = current_loop()
        task = BackgroundTask(at_end)

        def ended(_: object = None) -> None:
            self._tasks.pop(task, None)
            task._end()

        if isinstance(loop, asyncio.AbstractEventLoop):
            native = loop.create_task(task._run(work, *args))
            native.add_done_callback(ended)
            self._tasks[task] = native
        else:
            _spawn_in_trio(task._run, ended, work, *args)
            self._tasks[task] = None
        return task

    async def aclose(self) -> None:
        """Cancel all of them and wait until they have ended."""
        running = list(self._tasks)
        for task in running:
            task.cancel()
        for task in running:
            await task.stop()


def _spawn_in_trio(
    run: Callable[[*Args], Awaitable[object]], ended: Callable[[], object], *args: *Args
) -> None:
    from trio.lowlevel import spawn_system_task

    async def run_to_end() -> None:
        try:
            await run(*args)
        finally:
            ended()

    spawn_system_task(run_to_end, context=copy_context())
