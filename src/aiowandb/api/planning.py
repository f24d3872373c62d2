"""From the arguments of `Runs.plan` to a read plan, and what they may be."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

import msgspec

from aiowandb.arguments import ANY_NAMES, FLAG, NAMES, choice, integer, optional
from aiowandb.choices import EventStream, LiveRows
from aiowandb.concurrency.threads import import_in_thread
from aiowandb.net import Session
from aiowandb.wire.record import RunRecord
from aiowandb.wire.runs import RunQuery

if TYPE_CHECKING:
    from aiowandb.readplan import ReadPlan

# W&B counts requests, and of each run little more than its keys is asked for.
_PER_PAGE = 500

ROWS_CHECKS = {
    "keys": optional(NAMES),
    "exclude": ANY_NAMES,
    "min_step": optional(integer(0)),
    "max_step": optional(integer(0)),
}
PLAN_CHECKS = ROWS_CHECKS | {
    "any_key": FLAG,
    "stream": choice(EventStream),
    "live": choice(LiveRows),
}

Records = Callable[[RunQuery], AsyncGenerator[list[RunRecord]]]


class PlanArguments(msgspec.Struct, frozen=True):
    """The arguments of `Runs.plan`, as they were given."""

    keys: Sequence[str] | None
    exclude: Sequence[str]
    min_step: int | None
    max_step: int | None
    any_key: bool = True
    stream: EventStream = "default"
    live: LiveRows = "read"


async def make_plan(
    session: Session,
    entity: str,
    project: str,
    query: RunQuery,
    records: Records,
    arguments: PlanArguments,
) -> ReadPlan:
    """The plan of all runs that the query finds."""
    await import_in_thread("aiowandb.readplan")
    from aiowandb.readplan import Planner, PlanOptions

    options = PlanOptions(
        keys=tuple(arguments.keys or ()) or None,
        exclude=tuple(arguments.exclude),
        min_step=arguments.min_step,
        max_step=arguments.max_step,
        any_key=arguments.any_key,
        stream=arguments.stream,
        live=arguments.live,
    )
    planner = Planner(session, entity, project, options)
    asked = RunQuery(query.filters, query.order, _PER_PAGE, frozenset({"history_keys"}))
    async with aclosing(session.ahead(records(asked))) as pages:
        return await planner.plan(aiter(pages))
