"""Where the rows of a run lie: Parquet files first, then what is still live."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from aiowandb.errors import NotFoundError
from aiowandb.net import Session
from aiowandb.paths import RunRef
from aiowandb.wire.history import HistorySource, alias, history_plans


class HistoryPlan(msgspec.Struct, frozen=True):
    """`segments` are URLs of Parquet files; the live rows have steps in `[live_from, end)`."""

    ref: RunRef
    segments: tuple[str, ...]
    live_from: int
    end: int


async def plan_histories(
    session: Session, runs: Sequence[RunRef]
) -> dict[RunRef, HistoryPlan | NotFoundError]:
    """Plan many runs of one project with one request."""
    if not runs:
        return {}
    entity, project = runs[0].entity, runs[0].project
    answer = await session.ask(history_plans(entity, project, [ref.run for ref in runs]))
    sources = answer.project or {}
    return {ref: _plan(ref, sources.get(alias(i))) for i, ref in enumerate(runs)}


async def plan_history(session: Session, run: RunRef) -> HistoryPlan:
    """Plan one run."""
    found = (await plan_histories(session, [run]))[run]
    if isinstance(found, NotFoundError):
        raise found
    return found


def _plan(ref: RunRef, source: HistorySource | None) -> HistoryPlan | NotFoundError:
    if source is None:
        return NotFoundError(f"Could not find run {ref}.", operation="HistoryPlans")
    end = (source.history_keys.last_step if source.history_keys else -1) + 1
    parquet = source.parquet_history
    segments = tuple(parquet.parquet_urls or ()) if parquet else ()
    live = [int(row.step) for row in (parquet.live_data or ())] if parquet else []
    if live:
        live_from = min(live)
    else:
        # Without files and without a boundary, all that there is must be live.
        live_from = end if segments else 0
    return HistoryPlan(ref, segments, live_from, max(end, max(live, default=-1) + 1))
