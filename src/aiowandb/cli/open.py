"""`aiowandb open`: prints the address of a page."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import anyio
import click

from aiowandb.cli.options import connect, connection
from aiowandb.paths import names_more_than_a_project, parse_project_path, parse_run_path


@click.command("open")
@click.argument("path")
@connection
def open_page(path: str, base_url: str | None, local: Path | None) -> None:
    """Print the address of the page of a project or a run.

    With --local it is a link to the running server of that folder, and logs in the first browser
    that opens it.

    \b
    Examples:
      aiowandb open entity/project
      aiowandb open entity/project/run_id
    """
    if local is None:
        click.echo(anyio.run(_address, path, base_url))
        return
    if not local.is_dir():
        raise click.UsageError(f"--local: folder {local} does not exist.")
    from aiowandb.embedded import LOCAL_ENTITY, login_link

    click.echo(login_link(local, _page(path, LOCAL_ENTITY), base_url))


async def _address(path: str, base_url: str | None) -> str:
    from aiowandb.config.settings import app_url

    async with connect(base_url, None) as api:
        entity = parse_run_path(path).entity if _is_run(path) else parse_project_path(path).entity
        page = _page(path, entity or await api.default_entity())
        return app_url(api.settings.base_url) + quote(page)


def _is_run(path: str) -> bool:
    return names_more_than_a_project(path)


def _page(path: str, default_entity: str) -> str:
    """The path of the page, as the SDK prints it."""
    if _is_run(path):
        run = parse_run_path(path)
        return f"/{run.entity or default_entity}/{run.project}/runs/{run.run}"
    project = parse_project_path(path)
    return f"/{project.entity or default_entity}/{project.project}"
