"""`aiowandb export`: a project into files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import click

from aiowandb.cli.options import connect, connection, selection
from aiowandb.cli.output import console, printable, table

if TYPE_CHECKING:
    from aiowandb.api import AsyncApi
    from aiowandb.export import ExportResult, Format


@click.command()
@click.argument("project", metavar="ENTITY/PROJECT")
@click.argument("folder", type=click.Path(path_type=Path))
@connection
@selection
@click.option(
    "--format", type=click.Choice(["parquet", "csv"]), default="parquet", show_default=True
)
def export(
    project: str,
    folder: Path,
    base_url: str | None,
    local: Path | None,
    filters: Mapping[str, Any],
    order: str,
    format: Format,
) -> None:
    """Write the runs of a project and their whole histories into FOLDER.

    \b
    Examples:
      aiowandb export me/mnist out
      aiowandb export me/mnist out --format csv --filter 'tag == "best"'
    """
    api = connect(base_url, local)
    result = anyio.run(_export, api, project, folder, filters, order, format)
    console.print(table([summary(result)]))
    for file in result.files:
        console.print(printable(file))


async def _export(
    api: AsyncApi,
    project: str,
    folder: Path,
    filters: Mapping[str, Any],
    order: str,
    format: Format,
) -> ExportResult:
    async with api:
        return await api.runs(project, filters, order).export(folder, format=format)


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
