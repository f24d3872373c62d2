"""`aiowandb stop`: asks a live run to stop."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import click

from aiowandb.cli.options import connect, connection
from aiowandb.cli.output import console, printable

if TYPE_CHECKING:
    from aiowandb.api import AsyncApi, Run

_STOPPABLE = frozenset({"running", "pending", "preempting", "preempted"})


@click.command()
@click.argument("path", metavar="ENTITY/PROJECT/RUN")
@connection
def stop(path: str, base_url: str | None, local: Path | None) -> None:
    """Ask the script of a live run to stop, which it does within seconds.

    \b
    Examples:
      aiowandb stop me/mnist/l1v2e3
    """
    run = anyio.run(_stop, connect(base_url, local), path)
    console.print(printable(f"Asked run {run.ref} to stop."), soft_wrap=True)


async def _stop(api: AsyncApi, path: str) -> Run:
    async with api:
        run = await api.run(path)
        if run.state not in _STOPPABLE:
            raise click.ClickException(f"Run {run.ref} is {run.state}, not running.")
        if not await run.stop():
            raise click.ClickException(f"W&B did not pass the request on to run {run.ref}.")
        return run
