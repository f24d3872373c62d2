"""`aiowandb projects`: lists the projects of an entity."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import click

from aiowandb.choices import TableFormat
from aiowandb.cli.options import connect, connection, table_format
from aiowandb.cli.output import print_records

if TYPE_CHECKING:
    from aiowandb.api import AsyncApi, Project


@click.command()
@click.argument("entity", required=False)
@connection
@table_format
def projects(
    entity: str | None, base_url: str | None, local: Path | None, format: TableFormat
) -> None:
    """List the projects of an entity, by default your own.

    \b
    Examples:
      aiowandb projects
      aiowandb projects my-team --format csv
    """
    print_records(anyio.run(_projects, connect(base_url, local), entity), format, "projects")


async def _projects(api: AsyncApi, entity: str | None) -> list[dict[str, Any]]:
    async with api:
        return [_record(project) async for project in api.projects(entity)]


def _record(project: Project) -> dict[str, Any]:
    return {
        "name": project.name,
        "entity": project.entity,
        "created": project.created_at.isoformat(" ", "seconds") if project.created_at else None,
        "url": project.url,
    }
