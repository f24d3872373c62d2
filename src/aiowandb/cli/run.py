"""`aiowandb run`: shows one run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import click

from aiowandb.choices import RecordFormat
from aiowandb.cli.options import connect, connection, record_format
from aiowandb.cli.output import print_record

if TYPE_CHECKING:
    from aiowandb.api import AsyncApi, Run


@click.command()
@click.argument("path", metavar="ENTITY/PROJECT/RUN")
@connection
@record_format
def run(path: str, base_url: str | None, local: Path | None, format: RecordFormat) -> None:
    """Show the state, times, config and summary of a run.

    \b
    Examples:
      aiowandb run me/mnist/a1b2c3d4
      aiowandb run https://wandb.ai/me/mnist/runs/a1b2c3d4 --format json
    """
    found = anyio.run(_read, connect(base_url, local), path)
    print_record(full_record(found), format)


async def _read(api: AsyncApi, path: str) -> Run:
    async with api:
        return await api.run(path)


def full_record(run: Run) -> dict[str, Any]:
    """Everything known about a run."""
    return {
        "path": str(run.ref),
        "name": run.name,
        "state": run.state,
        "url": run.url,
        "user": run.username,
        "created": run.created_at.isoformat(" ", "seconds") if run.created_at else None,
        "heartbeat": run.heartbeat_at.isoformat(" ", "seconds") if run.heartbeat_at else None,
        "rows": run.history_line_count,
        "last step": run.last_step,
        "tags": run.tags,
        "group": run.group,
        "job type": run.job_type,
        "sweep": run.sweep_name,
        "commit": run.commit,
        "notes": run.notes,
        "config": run.config,
        "summary": dict(run.summary),
    }
