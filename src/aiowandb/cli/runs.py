"""`aiowandb runs`: the runs of a project as a list."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import click

from aiowandb.cli.options import connect, connection, selection
from aiowandb.cli.output import TableFormat, print_records

if TYPE_CHECKING:
    from aiowandb.api import AsyncApi, Run


@click.command()
@click.argument("project", metavar="ENTITY/PROJECT")
@connection
@selection
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="At most.")
@click.option("--format", type=click.Choice(["table", "json", "csv"]), default="table")
def runs(
    project: str,
    base_url: str | None,
    local: Path | None,
    filters: Mapping[str, Any],
    order: str,
    limit: int,
    format: TableFormat,
) -> None:
    """List the runs of a project.

    \b
    Examples:
      aiowandb runs me/mnist
      aiowandb runs me/mnist --filter 'config.lr > 0.1 and state == "finished"'
      aiowandb runs me/mnist --order -summary.accuracy
      aiowandb runs me/mnist --limit 1000 --format csv > runs.csv
    """
    api = connect(base_url, local)
    found = anyio.run(_first_runs, api, project, filters, order, limit)
    print_records([_record(run) for run in found], format)


async def _first_runs(
    api: AsyncApi, project: str, filters: Mapping[str, Any], order: str, limit: int
) -> list[Run]:
    found: list[Run] = []
    async with api, aclosing(api.runs(project, filters, order, min(limit, 200)).pages()) as pages:
        async for page in pages:
            found += page[: limit - len(found)]
            if len(found) == limit:
                break
    return found


def _record(run: Run) -> dict[str, Any]:
    return {
        "id": run.id,
        "name": run.name,
        "state": run.state,
        "created": run.created_at.isoformat(" ", "seconds") if run.created_at else None,
        "last step": run.last_step,
        "tags": run.tags,
    }
