"""`aiowandb export`: a project into files."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import click

from aiowandb.cli.options import connect, connection, selection
from aiowandb.cli.output import complain, console, printable, table

if TYPE_CHECKING:
    from aiowandb.api import AsyncApi
    from aiowandb.export import ExportResult, Format


SOME_FAILED = 3


@click.command()
@click.argument("project", metavar="ENTITY/PROJECT")
@click.argument("folder", type=click.Path(path_type=Path))
@connection
@selection
@click.option(
    "--format", type=click.Choice(["parquet", "csv"]), default="parquet", show_default=True
)
@click.option("--overwrite", is_flag=True, help="Start anew in a folder that was exported into.")
def export(
    project: str,
    folder: Path,
    base_url: str | None,
    local: Path | None,
    filters: Mapping[str, Any],
    order: str,
    format: Format,
    overwrite: bool,
) -> None:
    """Bring FOLDER up to date with the runs of a project and their whole histories.

    An export that was interrupted goes on where it was; made again, it asks only for
    what is new. Exit code 3: some runs failed; the same command tries just them.

    \b
    Examples:
      aiowandb export me/mnist out
      aiowandb export me/mnist out --format csv --filter 'tag == "best"'
    """
    api = connect(base_url, local)
    result = anyio.run(_export, api, project, folder, filters, order, format, overwrite)
    console.print(table([summary(result)]))
    for file in result.files:
        console.print(printable(file))
    for failure in result.failed:
        complain(f"run {failure.run}: {failure.error}")
    if result.failed:
        sys.exit(SOME_FAILED)


async def _export(
    api: AsyncApi,
    project: str,
    folder: Path,
    filters: Mapping[str, Any],
    order: str,
    format: Format,
    overwrite: bool,
) -> ExportResult:
    async with api:
        runs = api.runs(project, filters, order)
        return await runs.export(folder, format=format, overwrite=overwrite)


def summary(result: ExportResult) -> dict[str, Any]:
    """What an export did, in the numbers that people ask for."""
    return {
        "runs": result.runs,
        "rows": result.rows,
        "requests": result.requests,
        "downloads": result.downloads,
        "MB in": result.received_bytes / 1e6,
        "MB out": result.written_bytes / 1e6,
        "seconds": result.seconds,
    }
