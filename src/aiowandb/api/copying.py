"""Copies runs from one W&B to another, or from any source."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from aiowandb.api.defaults import Defaults
from aiowandb.api.run_pages import RUNS_PER_PAGE
from aiowandb.arguments import FLAG, FUNCTION, Check, Unfit, choice, optional, text
from aiowandb.choices import CopyIds, OnExisting
from aiowandb.concurrency.threads import import_in_thread
from aiowandb.config.settings import Settings
from aiowandb.errors import UsageError
from aiowandb.net import Session
from aiowandb.net.traffic import part_of
from aiowandb.paths import check_project_name, parse_project_path
from aiowandb.wire.record import RunRecord
from aiowandb.wire.runs import RunQuery, count_runs

if TYPE_CHECKING:
    from aiowandb.ingest import CopyReport, Source


class Client(Protocol):
    """An `AsyncApi`, or an `Api` for the synchronous client."""

    @property
    def settings(self) -> Settings: ...


Place: TypeAlias = tuple[Session, Defaults]
Pages: TypeAlias = Callable[[RunQuery], AsyncGenerator[list[RunRecord]]]


def _elsewhere(value: Any) -> Any:
    is_client = hasattr(value, "_session") and hasattr(value, "_defaults")
    if isinstance(value, type) or not (is_client or callable(value)):
        raise Unfit
    return value


# The checks of arguments that all functions share that write runs.
WRITE_CHECKS = {
    "target": text("a path like 'entity/project', or a URL"),
    "ids": choice(CopyIds),
    "on_existing": choice(OnExisting),
    "plan": FLAG,
    "verify": FLAG,
    "on_event": optional(FUNCTION),
}
COPY_CHECKS = WRITE_CHECKS | {"api": optional(Check("another AsyncApi", _elsewhere))}


@asynccontextmanager
async def _opened(api: Any, here: Place) -> AsyncIterator[Place]:
    if api is None:
        yield here
    elif hasattr(api, "_session"):
        yield api._session, api._defaults
    else:
        # The synchronous client passes a function that creates a client for this event loop.
        async with api() as made:
            yield made._session, made._defaults


async def copy_project(
    here: Place,
    path: str | None,
    filters: Mapping[str, Any],
    order: str,
    pages: Pages,
    target: str,
    api: Client | None,
    **options: Any,
) -> CopyReport:
    """Copy the runs that a query finds into a project of this W&B or of another one."""
    await import_in_thread("aiowandb.ingest.remote")
    from aiowandb.ingest.mark import place_of
    from aiowandb.ingest.remote import WandbSource

    session, defaults = here
    entity, project = await defaults.project(path)
    query = RunQuery(filters, order, RUNS_PER_PAGE)

    async def count() -> int | None:
        return await session.ask(count_runs(entity, project, filters))

    name = await place_of(session, entity, project)
    source = WandbSource(session, (entity, project), name, lambda: pages(query), count)
    async with _opened(api, here) as there:
        counted = nullcontext() if session is there[0] else part_of(session.traffic)
        with counted as traffic:
            report = await write_runs(source, there, target, **options)
        report.requests += traffic.requests if traffic else 0
        return report


async def write_runs(
    source: Source,
    there: Place,
    target: str,
    *,
    ids: CopyIds,
    on_existing: OnExisting,
    plan: bool,
    verify: bool,
    on_event: Any,
) -> CopyReport:
    """Write the runs of any source into a project."""
    await import_in_thread("aiowandb.ingest.pipeline")
    from aiowandb.ingest.pipeline import Copy, CopyOptions
    from aiowandb.ingest.target import Target

    if plan and verify:
        raise UsageError("plan and verify cannot be combined: plan sends nothing to verify.")
    check_project_name(parse_project_path(target).project or "", "target")
    session, defaults = there
    place = await Target.open(session, *await defaults.project(target))
    if place.name == source.name:
        # Not with other ids either: the copies would be listed with the runs, and copied again.
        raise UsageError(f"{target} is the project of these runs: pass another target.")
    options = CopyOptions(on_existing, ids, plan=plan, verify=verify)
    with part_of(session.traffic) as traffic:
        report = await Copy(source, place, options, on_event).run()
    session.flush()
    report.requests = traffic.requests
    return report
