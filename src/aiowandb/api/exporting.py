"""`Runs.export`: checks its arguments and starts the export."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from aiowandb.arguments import (
    ANY_NAMES,
    FLAG,
    FUNCTION,
    NAMES,
    PATH,
    Check,
    Unfit,
    choice,
    choices,
    either,
    having,
    integer,
    optional,
)
from aiowandb.choices import Format, Layout, Nan, OnDeleted, RunField, Split, What
from aiowandb.concurrency.threads import import_in_thread, run_sync
from aiowandb.errors import UsageError
from aiowandb.net import Session
from aiowandb.wire.record import RunRecord
from aiowandb.wire.runs import RunQuery

if TYPE_CHECKING:
    from aiowandb.export import (
        ExportIdentity,
        ExportOptions,
        ExportPlan,
        ExportResult,
        OnEvent,
        Sink,
    )


# What an export needs of each run.
EXPORTED: frozenset[RunField] = frozenset({"config", "summary", "history_keys"})
# What the table of runs has in addition.
LISTED: frozenset[RunField] = frozenset({*EXPORTED, "system"})


def _filesystem(value: Any) -> Any:
    # A path can be opened, too.
    is_one = hasattr(value, "get_file_info") or hasattr(value, "open")
    if isinstance(value, str | Path) or not is_one:
        raise Unfit
    return value


# A path without a name has an error of its own, as a URL may be one too.
def _folder(value: Any) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise Unfit
    return value


FOLDER = Check("a folder", _folder)
_TARGET = either(
    FOLDER,
    PATH,
    having("a sink", "write", "close"),
    what="a folder, or a sink with the methods write and close",
)
FILESYSTEM = Check("a file system of pyarrow or fsspec", _filesystem)

# The schemes of URLs that are no folders.
_DATABASES = frozenset({"postgresql", "postgres", "sqlite"})

PLAN_EXPORT_CHECKS = {
    "target": _TARGET,
    "format": choice(Format),
    "what": optional(choices(What)),
    "layout": choice(Layout),
    "split": optional(choice(Split)),
    "keys": optional(NAMES),
    "any_key": FLAG,
    "exclude": ANY_NAMES,
    "min_step": optional(integer(0)),
    "max_step": optional(integer(0)),
    "samples": optional(integer(1)),
    "safe_csv": FLAG,
    "on_deleted": choice(OnDeleted),
    "nan": optional(choice(Nan)),
    "filesystem": optional(FILESYSTEM),
    "overwrite": FLAG,
}
EXPORT_CHECKS = PLAN_EXPORT_CHECKS | {"repair": FLAG, "on_event": optional(FUNCTION)}


def default_tables(target: object) -> tuple[What, ...]:
    """What is exported to this target by default."""
    return ("runs", "history") if _is_folder(target) else ("history",)


async def export_options(
    target: object,
    *,
    what: Collection[What] | Literal["all"] | None,
    keys: Sequence[str] | None,
    exclude: Sequence[str],
    **others: Any,
) -> ExportOptions:
    """The options of an export to this target, from the arguments of `Runs.export`."""
    await import_in_thread("aiowandb.export")
    from aiowandb.export import ExportOptions

    return ExportOptions(
        what=("all",) if what == "all" else tuple(default_tables(target) if what is None else what),
        keys=tuple(keys or ()) or None,
        exclude=tuple(exclude),
        **others,
    )


def check_target(
    target: Any,
    options: ExportOptions,
    *,
    filesystem: Any,
    overwrite: bool,
    repair: bool = False,
) -> None:
    """Raise if the target is not suitable for what is exported, before anything is sent."""
    from aiowandb.export.stream import sink_at

    if repair and overwrite:
        raise UsageError("repair keeps the existing export: leave overwrite out.")
    if repair and not _is_folder(target):
        raise UsageError("repair requires a folder, not a stream of rows.")
    if _is_folder(target):
        options.check_effect(target="folder", overwrite=overwrite)
        return
    if filesystem is not None:
        raise UsageError("filesystem requires a folder as the target.")
    options.check_effect(target="stdout" if target == "-" else "sink", overwrite=overwrite)
    sink_at(target, options)


def _is_folder(target: object) -> bool:
    return isinstance(target, str | Path) and target != "-" and not is_database(target)


def is_database(target: object) -> bool:
    """Whether the target of an export is the URL of a database."""
    return isinstance(target, str) and target.partition("://")[0] in _DATABASES


async def export_to(
    session: Session,
    where: Callable[[], Awaitable[tuple[str, str]]],
    query: RunQuery,
    records: Callable[[RunQuery], AsyncGenerator[list[RunRecord]]],
    target: str | Path | Sink,
    options: ExportOptions,
    *,
    filesystem: Any,
    overwrite: bool,
    repair: bool,
    on_event: OnEvent | None,
) -> ExportResult:
    """Export the runs of a query; wrong arguments are an error at once."""
    if isinstance(target, str) and is_database(target):
        target = _database(target, options)
    check_target(target, options, filesystem=filesystem, overwrite=overwrite, repair=repair)
    if options.format == "delta":
        # A missing package is an error before anything is sent.
        await import_in_thread("aiowandb.export.delta")
    from aiowandb.export import ExportIdentity, export_runs

    path = "/".join(await where())
    identity = ExportIdentity(session.host, path, dict(query.filters), query.order)
    if repair:
        await _repair(target, filesystem, identity, options, partial(records, query))
    async with aclosing(records(query)) as pages:
        return await export_runs(
            session,
            pages,
            identity,
            target,
            options,
            filesystem=filesystem,
            overwrite=overwrite,
            on_event=on_event,
        )


def _database(url: str, options: ExportOptions) -> Sink:
    """The table of a database that has the name of what is exported."""
    from aiowandb.export.sinks import DatabaseSink

    return DatabaseSink(url, options.what[0])


async def _repair(
    target: Any,
    filesystem: Any,
    identity: ExportIdentity,
    options: ExportOptions,
    records: Callable[[], AsyncGenerator[list[RunRecord]]],
) -> None:
    await import_in_thread("aiowandb.verification")
    from aiowandb.export.folders.locate import folder_at
    from aiowandb.export.stored import RunSnapshot
    from aiowandb.verification import repair_folder

    async def listed() -> dict[str, RunSnapshot]:
        async with aclosing(records()) as pages:
            return {run.id: RunSnapshot.from_history(run) async for page in pages for run in page}

    folder = await run_sync(folder_at, target, filesystem)
    await repair_folder(folder, identity, options, listed)


async def plan_export_to(
    session: Session,
    where: Callable[[], Awaitable[tuple[str, str]]],
    query: RunQuery,
    target: str | Path | Sink,
    options: ExportOptions,
    *,
    filesystem: Any,
    overwrite: bool,
) -> ExportPlan:
    """What the same export would do; wrong arguments are an error at once."""
    if isinstance(target, str) and is_database(target):
        target = _database(target, options)
    check_target(target, options, filesystem=filesystem, overwrite=overwrite)
    await import_in_thread("aiowandb.export.preview")
    from aiowandb.export import ExportIdentity
    from aiowandb.export.preview import preview_export

    path = "/".join(await where())
    identity = ExportIdentity(session.host, path, dict(query.filters), query.order)
    return await preview_export(
        session,
        query,
        identity,
        target,
        options,
        filesystem=filesystem,
        overwrite=overwrite,
        runs_per_page=query.per_page,
    )
