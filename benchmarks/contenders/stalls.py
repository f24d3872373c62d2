"""aiowandb's exports of many runs, which measure how long the event loop is blocked."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Collection
from typing import Any

from aiowandb import AsyncApi
from aiowandb.choices import What
from benchmarks.contenders.clock import Job, Outcome, Stall, measured
from benchmarks.contenders.ours import KEY
from benchmarks.origin.project import PATH


class Watch:
    """Measures each step of each task of asyncio in this thread, and the garbage collections."""

    def __init__(self) -> None:
        self.stall = Stall(0.0, 0.0, 0.0)
        self._thread = threading.get_ident()
        self._collector = self._started = 0.0

    def start(self) -> None:
        step = getattr(asyncio.Handle, "_run")  # noqa: B009 - type checkers do not know it

        def run(handle: asyncio.Handle) -> None:
            cpu, wall = time.thread_time(), time.perf_counter()
            self._collector = 0.0
            step(handle)
            cpu, wall = time.thread_time() - cpu, time.perf_counter() - wall
            self.stall = Stall(
                max(self.stall.cpu, cpu - self._collector),
                max(self.stall.wall, wall),
                max(self.stall.collector, self._collector),
            )

        setattr(asyncio.Handle, "_run", run)  # noqa: B010
        gc.callbacks.append(self._collecting)

    def _collecting(self, phase: str, _: dict[str, Any]) -> None:
        if threading.get_ident() != self._thread:
            return
        if phase == "start":
            self._started = time.thread_time()
        else:
            self._collector += time.thread_time() - self._started


def export_runs(job: Job) -> Outcome:
    return asyncio.run(_export(job, ["runs"]))


def export_all(job: Job) -> Outcome:
    return asyncio.run(_export(job, ["runs", "history"]))


async def _export(job: Job, what: Collection[What]) -> Outcome:
    watch = Watch()
    watch.start()
    async with AsyncApi(KEY, base_url=job.url) as api:
        result = await api.runs(PATH).export(job.folder, what=what)
    return Outcome(result.rows, stall=watch.stall)


if __name__ == "__main__":
    measured(export_runs, export_all)
