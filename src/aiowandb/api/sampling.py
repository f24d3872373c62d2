"""Samples of the rows of runs: of one, of many in few requests, and of one after another."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from itertools import accumulate, islice
from typing import Any

import anyio
import msgspec

from aiowandb.api.histories import UnknownKeys
from aiowandb.api.samples import KeySample, key_sample
from aiowandb.choices import EventStream
from aiowandb.concurrency.tasks import Stream, gather
from aiowandb.errors import CommError, UsageError
from aiowandb.history import neighbours
from aiowandb.history.neighbours import Position
from aiowandb.history.pattern import Pattern
from aiowandb.net import BatchSize, Session, ask_batched
from aiowandb.wire import lenient
from aiowandb.wire.history import (
    Sample,
    SampledRows,
    SamplesByAlias,
    alias,
    sample_run,
    sample_runs,
)
from aiowandb.wire.record import RunRecord
from aiowandb.wire.rows import STEP, flat_row
from aiowandb.wire.runs import run_not_found

Row = dict[str, Any]

# How many bytes an answer about many runs may have, how many a value takes in it with its key,
# and how many keys the system metrics of a run have.
_ANSWER_BYTES = 16 << 20
_VALUE_BYTES = 25
_SYSTEM_KEYS = 40
_RUNS_AT_ONCE = 100
_ANSWERS_AT_ONCE = 4


class SampleCall(msgspec.Struct, frozen=True):
    """Which sample is taken of a run."""

    samples: int
    keys: tuple[str, ...]
    x_axis: str
    stream: EventStream


def sample_call(
    samples: int, keys: Sequence[str] | None, x_axis: str, stream: EventStream
) -> SampleCall:
    """The call with these arguments; raises for those that would have no effect."""
    if keys and stream != "default":
        raise UsageError(
            "keys= cannot be combined with stream=: system metrics are not selected by key."
        )
    if not keys and x_axis != STEP:
        raise UsageError(
            "x_axis requires keys=, as only rows that have all of them and the x axis are sampled."
        )
    return SampleCall(samples, tuple(keys or ()), x_axis, stream)


class _Question(msgspec.Struct, frozen=True):
    """The sample that a call takes of this run, and what its keys are if it is one of keys."""

    run: RunRecord
    sample: Sample
    by_keys: KeySample | None = None

    @property
    def size(self) -> int:
        """How many bytes the answer has, more or less."""
        sample, run = self.sample, self.run
        keys = len(sample.keys) or _SYSTEM_KEYS
        if not sample.keys and not sample.system and run.history_keys:
            keys = len(run.history_keys.keys)
        rows = sample.samples
        if run.history_line_count is not None and not sample.system:
            rows = min(rows, run.history_line_count)
        return rows * keys * _VALUE_BYTES

    async def rows(self, session: Session, found: SampledRows | None) -> list[Row]:
        """The rows of the answer."""
        if found is None:
            raise run_not_found(self.run.ref, "RunSampledHistory" if self.by_keys else None)
        if self.by_keys:
            rows = [flat_row(row) for row in (found.sampled_history or [[]])[0]]
            return await self.by_keys.completed(session, rows)
        return [flat_row(lenient.loads_object(text)) for text in found.history or ()]


async def read_sample(
    session: Session, run: RunRecord, call: SampleCall, position: Position | None, *, fresh: bool
) -> list[Row]:
    """At most `samples` rows, spread over the whole run.

    Those of the next runs of its list come with it, if this is done for one run after another.
    """
    question = await _question(session, run, call, fresh=fresh)
    if position and not fresh:
        loop = position.neighbours.loop(call, lambda: SampleLoop(session, call))
        await loop.expect(position, question)
    found = await session.ask_cached(sample_run(question.sample), fresh=fresh)
    return await question.rows(session, found)


async def read_samples(
    session: Session, pages: AsyncGenerator[list[RunRecord]], call: SampleCall, *, fresh: bool
) -> list[Row]:
    """The same of many runs, in few requests; every row with its `run_id`."""
    unknown = UnknownKeys([*call.keys, call.x_axis] if call.keys else ())
    size = BatchSize(_RUNS_AT_ONCE, _RUNS_AT_ONCE)

    async def groups(pages: Stream[list[RunRecord]]) -> AsyncGenerator[list[_Question]]:
        async for page in pages:
            questions = []
            for run in page:
                unknown.look_at(run)
                # Keys that came with the list are as fresh as it is.
                is_outdated = fresh and run.history_keys is None
                questions.append(await _question(session, run, call, fresh=is_outdated))
            while questions:
                group = _fitting(questions)
                del questions[: len(group)]
                yield group

    async def rows(group: list[_Question]) -> list[Row]:
        answers = await _ask_many(session, group, size, fresh=fresh)
        found: list[Row] = []
        for question, answer in zip(group, answers, strict=True):
            if isinstance(answer, CommError):
                raise answer
            own = {"run_id": question.run.id}
            found += [row | own for row in await question.rows(session, answer)]
        return found

    async with aclosing(session.ahead(pages)) as listed, aclosing(groups(listed)) as asked:
        found = await gather(asked, rows, _ANSWERS_AT_ONCE)
    unknown.warn()
    return [row for group in found for row in group]


class SampleLoop:
    """The samples of one run after another, by the same call."""

    def __init__(self, session: Session, call: SampleCall) -> None:
        self._session = session
        self._call = call
        self._size = BatchSize(_RUNS_AT_ONCE, _RUNS_AT_ONCE)
        self._pattern = Pattern()
        self._asking = anyio.Lock()

    async def expect(self, position: Position, question: _Question) -> None:
        """Ask for the next samples together with this one, if it is part of a loop."""
        self._pattern.note(position)
        if not self._pattern.is_regular:
            return
        async with self._asking:
            if self._is_cached(question):
                return
            await _ask_many(
                self._session,
                _fitting([question, *await self._next(position)]),
                self._size,
                seconds=neighbours.FRESH_SECONDS,
            )

    def drop(self) -> None:
        """What was asked for is in the cache, which drops it."""

    async def _next(self, position: Position) -> list[_Question]:
        """The samples that are expected to be asked for, and can be without further requests."""
        found = []
        for _, run in islice(position.after(), self._pattern.expected(_RUNS_AT_ONCE)):
            if run.history_keys or not self._call.keys:
                question = await _question(self._session, run, self._call, fresh=False)
                if not self._is_cached(question):
                    found.append(question)
        return found

    def _is_cached(self, question: _Question) -> bool:
        return self._session.is_cached(sample_run(question.sample))


async def _question(
    session: Session, run: RunRecord, call: SampleCall, *, fresh: bool
) -> _Question:
    if not call.keys:
        return _Question(run, Sample(run.ref, call.samples, system=call.stream != "default"))
    by_keys = await key_sample(session, run, call.keys, call.x_axis, call.samples, fresh=fresh)
    return _Question(run, Sample(run.ref, call.samples, by_keys.asked), by_keys)


def _fitting(questions: Sequence[_Question]) -> list[_Question]:
    """The first of these, at least one: as many as fit into one answer."""
    sizes = accumulate(question.size for question in questions)
    count = sum(size <= _ANSWER_BYTES for size in sizes)
    return list(questions[: min(max(1, count), _RUNS_AT_ONCE)])


async def _ask_many(
    session: Session,
    questions: Sequence[_Question],
    size: BatchSize,
    *,
    fresh: bool = False,
    seconds: float = math.inf,
) -> list[SampledRows | CommError | None]:
    """The answers, which are cached unless they must be fresh; unused ones for so long only."""
    operations = [sample_run(question.sample) for question in questions]
    missing = [i for i, asked in enumerate(operations) if fresh or not session.is_cached(asked)]
    changes = session.changes
    samples = [questions[i].sample for i in missing]
    answers = await ask_batched(session, samples, sample_runs, _pick, size) if missing else []
    found: dict[int, SampledRows | CommError | None]
    found = dict(zip(missing, answers, strict=True))
    if not fresh:
        kept = (
            (operations[i], answer, _bytes_of(answer))
            for i, answer in found.items()
            if not isinstance(answer, CommError)
        )
        session.keep_expected(kept, changes, seconds)
    for i, operation in enumerate(operations):
        if i not in found:
            cached = await session.ask_cached(operation)
            found[i] = cached
    return [found[i] for i in range(len(operations))]


def _pick(found: SamplesByAlias | None, index: int, _: Sample) -> SampledRows | None:
    return (found or {}).get(alias(index))


def _bytes_of(answer: SampledRows | None) -> int:
    if answer is None:
        return 0
    values = sum(len(row) for rows in answer.sampled_history or () for row in rows)
    return sum(map(len, answer.history or ())) + _VALUE_BYTES * values
