"""The cost of a job: wall time, CPU of the process tree, and memory."""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import psutil


class Job(msgspec.Struct, frozen=True):
    """What a contender is asked to do, against which server, in which folder of its own."""

    name: str
    url: str
    out: str
    runs: int

    @property
    def folder(self) -> Path:
        return Path(self.out)


class Stall(msgspec.Struct, frozen=True):
    """The longest time in seconds that an event loop has stood still for one step of a task.

    `cpu` is that of its thread without garbage collections, which `collector` has: they go
    through all objects of the process, those of imported modules included. `wall` is with both;
    a busy machine makes it longer.
    """

    cpu: float
    wall: float
    collector: float


class Outcome(msgspec.Struct, frozen=True):
    """What a contender has done, so that none wins by doing less."""

    rows: int
    first_row: float | None = None
    stall: Stall | None = None


class Cost(msgspec.Struct, frozen=True):
    """What it took, from after the imports to the finished job; bytes and seconds.

    `peak_memory` adds up the peaks of the processes.
    """

    wall: float
    cpu: float
    peak_memory: int
    rows: int
    first_row: float | None = None
    stall: Stall | None = None


def asked_job() -> Job:
    """The job of the command line."""
    return msgspec.json.decode(sys.argv[1], type=Job)


def measured(*jobs: Callable[[Job], Outcome]) -> None:
    """Do the one of these jobs that the command line names, and print its cost."""
    job = asked_job()
    do = next(do for do in jobs if do.__name__ == job.name)
    report(lambda: do(job))


def leave() -> None:
    """End this process without more ado, as contenders that use the official client must.

    As it exits, it waits for its service, which may have missed that it is to end.
    """
    sys.stdout.flush()
    os._exit(0)


def report(work: Callable[[], Outcome]) -> None:
    """Do the work and print its cost on the last line."""
    started, before = time.perf_counter(), _cpu()
    outcome = work()
    wall, cpu = time.perf_counter() - started, _cpu() - before
    cost = Cost(wall, cpu, _peak_memory(), outcome.rows, outcome.first_row, outcome.stall)
    print("\n" + msgspec.json.encode(cost).decode())


def _cpu() -> float:
    # Children that were waited for are in the times of their parent already.
    return sum(sum(process.cpu_times()[:4]) for process in _processes())


def _peak_memory() -> int:
    if not Path("/proc/self/status").exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # getrusage would count the harness, too, that this process was forked from.
    return sum(_high_water_mark(process.pid) for process in _processes())


def _high_water_mark(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


def _processes() -> list[psutil.Process]:
    this = psutil.Process()
    return [this, *this.children(recursive=True)]
