"""`aiowandb delete`: deletes runs, after confirmation."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import click

from aiowandb.cli.options import connect, connection
from aiowandb.cli.output import console, printable

if TYPE_CHECKING:
    from aiowandb.api import AsyncApi, Run


@click.command()
@click.argument("paths", metavar="ENTITY/PROJECT/RUN...", nargs=-1, required=True)
@connection
@click.option("--artifacts", is_flag=True, help="Also delete the artifacts that the runs logged.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask for confirmation.")
def delete(
    paths: tuple[str, ...], base_url: str | None, local: Path | None, artifacts: bool, yes: bool
) -> None:
    """Delete runs and their data from W&B, after confirmation.

    If stdin is not a terminal, --yes is required.

    \b
    Examples:
      aiowandb delete me/mnist/o1l2d3 --yes
    """
    if not yes and not sys.stdin.isatty():
        raise click.UsageError("--yes is required if stdin is not a terminal.")
    anyio.run(_delete, connect(base_url, local), paths, artifacts, yes)


async def _delete(api: AsyncApi, paths: Sequence[str], artifacts: bool, yes: bool) -> None:
    async with api:
        found = {run.ref: run for run in [await api.run(path) for path in paths]}
        for run in found.values():
            if not yes and not _is_confirmed(run, artifacts):
                raise click.ClickException(f"Run {run.ref} was not deleted.")
            await run.delete(delete_artifacts=artifacts)
            console.print(printable(f"Deleted run {run.ref}."), soft_wrap=True)


def _is_confirmed(run: Run, artifacts: bool) -> bool:
    what = f"{run.name or run.id}, {run.state}, {run.history_line_count or 0:,} rows"
    more = " and the artifacts that it logged" if artifacts else ""
    question = printable(f"Delete run {run.ref} ({what}){more}?").plain
    return click.confirm(question, err=True)
