"""Where the rows of a run are: in Parquet files first, then rows that are still live."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from aiowandb.errors import CommError, NotFoundError
from aiowandb.history.row_facts import RowFacts
from aiowandb.net import BatchSize, Session, ask_batched
from aiowandb.paths import RunRef
from aiowandb.redaction import Link
from aiowandb.wire.graphql import Operation
from aiowandb.wire.history import HistorySource, HistorySources, Window, alias, history_plans
from aiowandb.wire.record import RunRecord
from aiowandb.wire.runs import run_not_found

# Runs with more rows take more memory while they are read, and one keeps all connections busy.
_LARGE = 50_000
# How many runs are planned in one request, where W&B answers quickly.
PLANS_PER_REQUEST = 200
# A value with its key, as text.
_VALUE_BYTES = 25.0
# The steps that W&B accepts in a query.
_STEPS = range(2**63 - 1)


class HistoryPlan(msgspec.Struct, frozen=True):
    """`segments` are links to Parquet files; the live rows have steps in `[live_from, end)`.

    `row_count` is how many rows W&B counts in all, or None if it did not say; `key_count` is
    how many keys they have, and `text_keys` are the keys under which strings were logged. By the
    `facts` files of another run are recognized.
    """

    ref: RunRef
    segments: tuple[Link, ...]
    live_from: int
    end: int
    row_count: int | None
    key_count: int
    text_keys: frozenset[str] = frozenset()
    facts: RowFacts | None = None

    @property
    def is_large(self) -> bool:
        """Whether the run is worth reading by itself."""
        return (self.row_count or 0) > _LARGE

    def bytes_of(self, rows: int, row_bytes: float = 0) -> float:
        """About how many bytes the first `rows` rows take, or all if there are fewer.

        `row_bytes` is how many bytes a row of other runs had; 0 if that is not known.
        """
        rows = rows if self.row_count is None else min(rows, self.row_count)
        return rows * max(row_bytes, max(1, self.key_count) * _VALUE_BYTES)


def plan_batch() -> BatchSize:
    """How many runs to plan in one request."""
    return BatchSize(50, PLANS_PER_REQUEST)


async def plan_histories(
    session: Session, runs: Sequence[RunRef], size: BatchSize
) -> list[HistoryPlan | CommError]:
    """Plan many runs of one project with one request; a run that fails alone gets its error."""
    return [plan for plan, _ in await plan_with_rows(session, [(run, None) for run in runs], size)]


async def plan_with_rows(
    session: Session, runs: Sequence[tuple[RunRef, Window | None]], size: BatchSize
) -> list[tuple[HistoryPlan | CommError, list[str]]]:
    """The same, with the rows of the windows in the same request."""

    def ask(runs: Sequence[tuple[RunRef, Window | None]]) -> Operation[HistorySources | None]:
        return history_plans([run for run, _ in runs], [window for _, window in runs])

    def pick(
        found: HistorySources | None, index: int, run: tuple[RunRef, Window | None]
    ) -> tuple[HistoryPlan | CommError, list[str]]:
        source = (found or {}).get(alias(index))
        return plan_from(run[0], source), source.history or [] if source else []

    answers = await ask_batched(session, runs, ask, pick, size)
    return [(found, []) if isinstance(found, CommError) else found for found in answers]


def expected_plan(record: RunRecord) -> HistoryPlan | None:
    """The plan of a run whose rows are all live, by what came with the list of runs."""
    keys = record.history_keys
    if keys is None or record.history_line_count is None:
        return None
    end, rows = _clamp(keys.last_step + 1), record.history_line_count
    return HistoryPlan(
        record.ref, (), live_from=0, end=end, row_count=rows, key_count=len(keys.keys)
    )


async def plan_history(session: Session, run: RunRef) -> HistoryPlan:
    """Plan one run."""
    found = await session.ask(history_plans([run]))
    plan = plan_from(run, (found or {}).get(alias(0)))
    if isinstance(plan, NotFoundError):
        raise plan
    return plan


def plan_from(ref: RunRef, source: HistorySource | None) -> HistoryPlan | NotFoundError:
    if source is None:
        return run_not_found(ref, "HistoryPlans")
    keys = source.history_keys
    end = (keys.last_step if keys else -1) + 1
    segments = tuple(map(Link, source.files))
    live = [_clamp(row.step) for row in source.live_rows]
    if live:
        live_from = min(live)
    else:
        # Without files and without a boundary, all rows must be live.
        live_from = end if segments else 0
    return HistoryPlan(
        ref=ref,
        segments=segments,
        live_from=live_from,
        end=_clamp(max(end, max(live, default=-1) + 1)),
        row_count=source.history_line_count,
        key_count=len(keys.keys) if keys else 0,
        text_keys=frozenset(keys.text_keys) if keys else frozenset(),
        facts=RowFacts.of(source),
    )


def _clamp(step: float) -> int:
    return int(min(max(step, _STEPS.start), _STEPS.stop))
