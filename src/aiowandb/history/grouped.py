"""What W&B returns for one run at a time, asked for many runs in one request.

The first answers about a group of runs come together. What is left of a run, if anything, is
then read on its own.
"""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from functools import partial
from typing import TypeVar

from anyio.streams.memory import MemoryObjectSendStream

from aiowandb.concurrency.tasks import task_group
from aiowandb.errors import CommError
from aiowandb.history.concurrent import RunBatches, open_run, read_ahead
from aiowandb.history.pages import Page
from aiowandb.history.scan import MAX_SYSTEM_ROWS, system_pages
from aiowandb.history.selection import Selection
from aiowandb.net import BatchSize, MemoryQueue, Session, ask_all
from aiowandb.paths import RunRef
from aiowandb.wire.history import Sample, SamplesByAlias, alias, sample_runs
from aiowandb.wire.runs import run_not_found

T = TypeVar("T")

# Asks about some runs of a project, in one request if W&B answers that quickly.
AskRuns = Callable[[Session, Sequence[RunRef], BatchSize], Awaitable[list[T | CommError]]]
# The pages of a run, beginning with what the first answer has of it.
ReadOn = Callable[[RunRef, T], AsyncGenerator[Page]]

# Runs in the first request; more later on, if W&B answers quickly.
RUNS_AT_FIRST = 25
# About so many rows may be in one answer, which is kept in memory until its runs are written.
ROWS_PER_ANSWER = 50_000


@asynccontextmanager
async def scan_grouped(
    session: Session,
    runs: Mapping[RunRef, int],
    ask: AskRuns[T],
    read_on: ReadOn[T],
) -> AsyncIterator[AsyncIterator[RunBatches]]:
    """Read these runs of a project in their order; the numbers are about how many rows each has.

    A run that fails alone raises its error where its batches are read.
    """
    async with read_ahead(partial(_open_groups, session, runs, ask, read_on)) as opened:
        yield opened


def scan_system_of(
    session: Session, runs: Mapping[RunRef, int], selection: Selection
) -> AbstractAsyncContextManager[AsyncIterator[RunBatches]]:
    """The system metrics of these runs."""

    async def read_on(_: RunRef, texts: Sequence[str]) -> AsyncGenerator[Page]:
        for page in system_pages(texts, selection):
            yield page

    return scan_grouped(session, runs, _ask_system, read_on)


async def _ask_system(
    session: Session, refs: Sequence[RunRef], size: BatchSize
) -> list[Sequence[str] | CommError]:
    def pick(found: SamplesByAlias | None, index: int, asked: Sample) -> Sequence[str] | CommError:
        run = (found or {}).get(alias(index))
        return run_not_found(asked.ref, "HistorySamples") if run is None else run.history or []

    samples = [Sample(ref, MAX_SYSTEM_ROWS, system=True) for ref in refs]
    answers = await ask_all(session, samples, sample_runs, pick, size)
    return list(answers)


async def _open_groups(
    session: Session,
    runs: Mapping[RunRef, int],
    ask: AskRuns[T],
    read_on: ReadOn[T],
    opened: MemoryObjectSendStream[RunBatches],
) -> None:
    size, line = BatchSize(RUNS_AT_FIRST, 100), MemoryQueue(session.memory)
    async with opened, task_group() as tasks:
        for group in _groups(runs, size):
            answers = await ask(session, group, size)
            for ref, answer in zip(group, answers, strict=True):
                await open_run(ref, _pages(ref, answer, read_on), opened, tasks, session, line)


async def _pages(ref: RunRef, answer: T | CommError, read_on: ReadOn[T]) -> AsyncGenerator[Page]:
    if isinstance(answer, CommError):
        raise answer
    async with aclosing(read_on(ref, answer)) as pages:
        async for page in pages:
            yield page


def _groups(runs: Mapping[RunRef, int], size: BatchSize) -> Iterator[list[RunRef]]:
    group: list[RunRef] = []
    rows = 0
    for ref, expected in runs.items():
        if group and (len(group) >= size.now or rows + expected > ROWS_PER_ANSWER):
            yield group
            group, rows = [], 0
        group.append(ref)
        rows += expected
    if group:
        yield group
