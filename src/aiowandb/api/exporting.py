"""`Runs.export`: checks its arguments and starts the export."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from aiowandb.concurrency.threads import import_in_thread
from aiowandb.errors import UsageError
from aiowandb.net import Session
from aiowandb.wire.record import RunRecord
from aiowandb.wire.runs import RunQuery

if TYPE_CHECKING:
    from aiowandb.export import ExportOptions, ExportResult, OnEvent, Sink


# What an export needs of each run.
EXPORTED: frozenset[RunField] = frozenset({"config", "summary", "history_keys"})


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


_TARGET = either(
    Check("a folder", _folder),
    PATH,
    having("a sink", "write", "close"),
    what="a folder, or a sink with the methods write and close",
)
_FILESYSTEM = Check("a file system of pyarrow or fsspec", _filesystem)

EXPORT_CHECKS = {
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
    "filesystem": optional(_FILESYSTEM),
    "overwrite": FLAG,
    "on_event": optional(FUNCTION),
}


def default_tables(target: object) -> tuple[What, ...]:
    """What is exported to this target by default."""
    return ("runs", "history") if _is_folder(target) else ("history",)


def check_target(target: Any, options: ExportOptions, *, filesystem: Any, overwrite: bool) -> None:
    """Raise if the target is not suitable for what is exported, before anything is sent."""
    from aiowandb.export.stream import sink_at

    if _is_folder(target):
        options.check_effect(target="folder", overwrite=overwrite)
        return
    if filesystem is not None:
        raise UsageError("filesystem requires a folder as the target.")
    options.check_effect(target="stdout" if target == "-" else "sink", overwrite=overwrite)
    sink_at(target, options)


def _is_folder(target: object) -> bool:
    return isinstance(target, str | Path) and target != "-"


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
    on_event: OnEvent | None,
) -> ExportResult:
    """Export the runs of a query; wrong arguments are an error at once."""
    check_target(target, options, filesystem=filesystem, overwrite=overwrite)
    if options.format == "delta":
        # A missing package is an error before anything is sent.
        await import_in_thread("aiowandb.export.delta")
    from aiowandb.export import ExportIdentity, export_runs

    path = "/".join(await where())
    identity = ExportIdentity(session.host, path, dict(query.filters), query.order)
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
