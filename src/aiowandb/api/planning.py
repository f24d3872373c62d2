"""Makes read plans from the arguments of `Runs.plan`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import msgspec

from aiowandb.api.run_pages import RUNS_PER_PAGE
from aiowandb.arguments import ANY_NAMES, FLAG, NAMES, Check, Unfit, choice, integer, optional
from aiowandb.choices import EventStream, LiveRows
from aiowandb.concurrency.threads import import_in_thread
from aiowandb.net import Session
from aiowandb.wire.record import RunRecord
from aiowandb.wire.runs import RunQuery

if TYPE_CHECKING:
    from aiowandb.readplan import PlanOptions, ReadPart, ReadPlan


def _last_steps(value: Any) -> Mapping[str, int]:
    if not isinstance(value, Mapping):
        raise Unfit
    found = dict(value)
    if not all(isinstance(run, str) and type(step) is int for run, step in found.items()):
        raise Unfit
    return found


ROWS_CHECKS = {
    "keys": optional(NAMES),
    "exclude": ANY_NAMES,
    "min_step": optional(integer(0)),
    "max_step": optional(integer(0)),
}
PLAN_CHECKS = ROWS_CHECKS | {
    "any_key": FLAG,
    "check_files": FLAG,
    "stream": choice(EventStream),
    "live": choice(LiveRows),
    "after": optional(Check("a mapping of the ids of runs to steps", _last_steps)),
}

Records = Callable[[RunQuery], AsyncGenerator[list[RunRecord]]]


class PlanArguments(msgspec.Struct, frozen=True):
    """The arguments of `Runs.plan`."""

    keys: Sequence[str] | None
    exclude: Sequence[str]
    min_step: int | None
    max_step: int | None
    any_key: bool = True
    stream: EventStream = "default"
    live: LiveRows = "read"
    after: Mapping[str, int] | None = None
    check_files: bool = False

    def options(self) -> PlanOptions:
        """The options of the planner; raises for arguments that cannot be combined."""
        from aiowandb.readplan import PlanOptions

        return PlanOptions(
            keys=tuple(self.keys or ()) or None,
            exclude=tuple(self.exclude),
            min_step=self.min_step,
            max_step=self.max_step,
            any_key=self.any_key,
            stream=self.stream,
            live=self.live,
            after=dict(self.after or {}),
            check_files=self.check_files,
        )


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
    from aiowandb.readplan import Planner

    planner = Planner(session, entity, project, arguments.options())
    async with aclosing(session.ahead(records(_asked(query)))) as pages:
        return await planner.plan(aiter(pages))


async def make_parts(
    session: Session,
    where: Callable[[], Awaitable[tuple[str, str]]],
    query: RunQuery,
    records: Records,
    arguments: PlanArguments,
    rows: int,
) -> AsyncGenerator[ReadPart]:
    """Parts of so many rows, the first ones while the last runs are not listed yet."""
    await import_in_thread("aiowandb.readplan")
    from aiowandb.readplan import Planner

    planner = Planner(session, *await where(), arguments.options())
    async with (
        aclosing(session.ahead(records(_asked(query)))) as pages,
        aclosing(planner.parts(aiter(pages), rows)) as parts,
    ):
        async for part in parts:
            yield part


def _asked(query: RunQuery) -> RunQuery:
    return RunQuery(query.filters, query.order, RUNS_PER_PAGE, frozenset({"history_keys"}))
