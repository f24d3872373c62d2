"""`aiowandb runs`: the runs of a project as a list."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import click

from aiowandb.choices import TableFormat
from aiowandb.cli.options import connect, connection, selection, table_format
from aiowandb.cli.output import print_error, print_records, time_text
from aiowandb.cli.run import full_record
from aiowandb.suggestions import did_you_mean
from aiowandb.wire.dotted import find, flattened

if TYPE_CHECKING:
    from aiowandb.api import AsyncApi, Run
    from aiowandb.choices import RunField

_DEFAULT_COLUMNS = ("id", "name", "state", "created", "last step", "tags")
_FIELDS: Mapping[str, Callable[[Run], Any]] = {
    "id": lambda run: run.id,
    "name": lambda run: run.name,
    "path": lambda run: str(run.ref),
    "url": lambda run: run.url,
    "state": lambda run: run.state,
    "user": lambda run: run.username,
    "created": lambda run: time_text(run.created_at),
    "heartbeat": lambda run: time_text(run.heartbeat_at),
    "rows": lambda run: run.history_line_count,
    "last step": lambda run: run.last_step,
    "tags": lambda run: run.tags,
    "group": lambda run: run.group,
    "job type": lambda run: run.job_type,
    "sweep": lambda run: run.sweep_name,
    "commit": lambda run: run.commit,
    "notes": lambda run: run.notes,
}
_SECTIONS = ("config", "summary")


def _columns(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...]:
    """Check the column names."""
    names = tuple(name.strip() for name in (value or "").split(",") if name.strip())
    if value is not None and not names:
        raise click.BadParameter("has no column name", ctx, param)
    for name in names:
        section, dot, key = name.partition(".")
        if name not in (*_FIELDS, *_SECTIONS) and not (section in _SECTIONS and dot and key):
            known = [*_FIELDS, "config.KEY", "summary.KEY"]
            hint = did_you_mean(name, known)
            choices = f"; columns are {', '.join(known)}"
            if dot and (right := did_you_mean(section, _SECTIONS)):
                hint = right.replace("'?", f".{key}'?")
            raise click.BadParameter(
                f"no column named {name!r}{hint or choices}",
                ctx,
                param,
            )
    return names


@click.command()
@click.argument("project", metavar="ENTITY/PROJECT")
@connection
@selection
@click.option(
    "--limit", type=click.IntRange(1), default=50, show_default=True, help="Maximum number of runs."
)
@click.option(
    "--columns",
    callback=_columns,
    metavar="NAME,...",
    help="Columns to show, like id,state,config.lr,summary.loss.  [default for JSON: all]",
)
@table_format
def runs(
    project: str,
    base_url: str | None,
    local: Path | None,
    filters: Mapping[str, Any],
    order: str,
    limit: int,
    columns: tuple[str, ...],
    format: TableFormat,
) -> None:
    """List the runs of a project.

    \b
    Examples:
      aiowandb runs me/mnist
      aiowandb runs me/mnist --filter 'config.lr > 0.1 and state == "finished"'
      aiowandb runs me/mnist --order -summary.accuracy --columns name,summary.accuracy
      aiowandb runs me/mnist --columns id,config.lr,summary.loss
      aiowandb runs me/mnist --limit 1000 --format csv > runs.csv
    """
    api = connect(base_url, local)
    is_full = format == "json" and not columns
    names = columns or _DEFAULT_COLUMNS
    parts = _parts((*_FIELDS, *_SECTIONS) if is_full else names)
    found = anyio.run(_first_runs, api, project, filters, order, limit, parts)
    if is_full:
        print_records([{"id": run.id} | full_record(run) for run in found], format, "runs")
        return
    print_records([{name: _value(run, name) for name in names} for run in found], format, "runs")
    _report_missing(found, columns)


def _parts(columns: Sequence[str]) -> Collection[RunField]:
    """The parts of runs that these columns need."""
    sections = {name.partition(".")[0] for name in columns}
    parts: list[RunField] = ["config", "summary"]
    wanted: list[RunField] = [part for part in parts if part in sections]
    if "last step" in columns:
        wanted.append("history_keys")
    return wanted


async def _first_runs(
    api: AsyncApi,
    project: str,
    filters: Mapping[str, Any],
    order: str,
    limit: int,
    include: Collection[RunField],
) -> list[Run]:
    found: list[Run] = []
    runs = api.runs(project, filters, order, min(limit, 200), include)
    async with api, aclosing(runs.pages()) as pages:
        async for page in pages:
            found += page[: limit - len(found)]
            if len(found) == limit:
                break
    return found


def _value(run: Run, name: str) -> Any:
    if name in _FIELDS:
        return _FIELDS[name](run)
    section, _, key = name.partition(".")
    values = _section(run, section)
    if not key:
        return values
    place = find(values, key)
    return place and place[0][place[1]]


def _section(run: Run, section: str) -> dict[str, Any]:
    return run.config if section == "config" else dict(run.summary)


def _report_missing(runs: Sequence[Run], columns: Sequence[str]) -> None:
    """Report columns that no run has a value for, with suggestions."""
    for name in columns:
        section, _, key = name.partition(".")
        if not key or not runs or any(find(_section(run, section), key) for run in runs):
            continue
        known = {f"{section}.{each}" for run in runs for each in flattened(_section(run, section))}
        print_error(f"No run has {name}{did_you_mean(name, sorted(known)) or '.'}")
