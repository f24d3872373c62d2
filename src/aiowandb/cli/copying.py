"""`aiowandb copy` and `aiowandb mirror`: runs from one W&B into another."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aiowandb.cli.copy_reports import copy_options, run_copy, write_options
from aiowandb.cli.options import BaseUrl, combine_filters, connect, connection, selection
from aiowandb.paths import parse_project_path

if TYPE_CHECKING:
    from aiowandb.api import AsyncApi
    from aiowandb.ingest import CopyReport

_FOLDER = click.Path(path_type=Path, file_okay=False)
_TARGET_KEY = "WANDB_TARGET_API_KEY"


@click.command()
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST")
@click.option("--from-base-url", type=BaseUrl(), metavar="URL", help="W&B server of SRC.")
@click.option("--from-local", type=_FOLDER, metavar="DIR", help="Embedded W&B of SRC.")
@click.option("--to-base-url", type=BaseUrl(), metavar="URL", help="W&B server of DST.")
@click.option("--to-local", type=_FOLDER, metavar="DIR", help="Embedded W&B of DST.")
@selection
@click.option("--run", "run_ids", multiple=True, metavar="ID", help="Only this run; repeatable.")
@write_options
def copy(
    source: str,
    target: str,
    from_base_url: str | None,
    from_local: Path | None,
    to_base_url: str | None,
    to_local: Path | None,
    filters: Mapping[str, Any],
    order: str,
    run_ids: tuple[str, ...],
    **options: Any,
) -> None:
    """Copy the runs of project SRC into project DST, here or on another server.

    Run the same command again to resume an interrupted copy, or to send only what is new.
    Without --to-base-url and --to-local, DST is where SRC is. WANDB_TARGET_API_KEY has the
    key of DST's server, if WANDB_API_KEY and netrc have not.

    Exit code 3 means that some runs failed, or that --verify found differences.

    \b
    Examples:
      aiowandb copy me/mnist my-team/mnist --plan
      aiowandb copy me/mnist local/mnist --to-local backup --verify
      aiowandb copy me/mnist me/copies --ids new --filter 'tag == "best"'
    """
    here = connect(from_base_url, from_local, reports_waits=False)
    there = _target(to_base_url, to_local)
    selected = combine_filters(filters, None, run_ids)
    _run(here, there, (source, selected, order), target, options)


@click.command()
@click.argument("source", metavar="SRC")
@click.argument("folder", metavar="DIR", type=_FOLDER)
@connection
@selection
@copy_options
def mirror(
    source: str,
    folder: Path,
    base_url: str | None,
    local: Path | None,
    filters: Mapping[str, Any],
    order: str,
    **options: Any,
) -> None:
    """Keep a copy of project SRC in DIR, to be read without a network.

    The folder is an embedded W&B: every command reads it with --local DIR, and
    `aiowandb serve DIR` serves it to wandb itself. The project has its name there, and
    the entity `local`. Run the same command again to bring the mirror up to date.

    \b
    Examples:
      aiowandb mirror me/mnist offline
    """
    here = connect(base_url, local, reports_waits=False)
    project = parse_project_path(source).project or source
    _run(here, _target(None, folder), (source, filters, order), f"local/{project}", options)


def _target(base_url: str | None, folder: Path | None) -> AsyncApi | None:
    from aiowandb.api import AsyncApi

    if base_url is not None and folder:
        raise click.UsageError("--to-local and --to-base-url cannot be combined.")
    if folder:
        return AsyncApi.local(folder)  # created if it does not exist
    if base_url is None:
        return None
    return AsyncApi(os.environ.get(_TARGET_KEY), base_url=base_url)


def _run(
    here: AsyncApi,
    there: AsyncApi | None,
    selected: tuple[str, Mapping[str, Any], str],
    target: str,
    options: dict[str, Any],
) -> None:
    run_copy(partial(_copy, here, there, selected, target), options)


async def _copy(
    here: AsyncApi,
    there: AsyncApi | None,
    selected: tuple[str, Mapping[str, Any], str],
    target: str,
    **options: Any,
) -> CopyReport:
    async with here:
        runs = here.runs(*selected)
        if there is None:
            return await runs.copy_to(target, **options)
        async with there:
            return await runs.copy_to(target, api=there, **options)
