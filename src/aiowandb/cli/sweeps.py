"""`aiowandb sweeps`: lists the sweeps of a project, or shows one with its best run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import click

from aiowandb.choices import TableFormat
from aiowandb.cli.options import connect, connection, table_format
from aiowandb.cli.output import print_record, print_records, time_text
from aiowandb.paths import names_more_than_a_project

if TYPE_CHECKING:
    from aiowandb.api import AsyncApi, Run, Sweep


@click.command()
@click.argument("path", metavar="ENTITY/PROJECT[/SWEEP]")
@connection
@table_format
def sweeps(path: str, base_url: str | None, local: Path | None, format: TableFormat) -> None:
    """List the sweeps of a project, or show one sweep and its best run.

    \b
    Examples:
      aiowandb sweeps me/mnist
      aiowandb sweeps me/mnist/s1w2e3p4
      aiowandb sweeps me/mnist --format json
    """
    api = connect(base_url, local)
    if not names_more_than_a_project(path):
        print_records(anyio.run(_list, api, path), format, "sweeps")
        return
    record = anyio.run(_one, api, path)
    if format == "csv":
        print_records([record], format, "sweeps")
    else:
        print_record(record, format)


async def _list(api: AsyncApi, path: str) -> list[dict[str, Any]]:
    async with api:
        project = await api.project(path)
        return [_record(sweep) async for sweep in project.sweeps(per_page=200)]


async def _one(api: AsyncApi, path: str) -> dict[str, Any]:
    async with api:
        sweep = await api.sweep(path)
        return (
            {"path": "/".join(sweep.path), "url": sweep.url}
            | _record(sweep)
            | _best(await sweep.best_run(), sweep.order)
        )


def _record(sweep: Sweep) -> dict[str, Any]:
    return {
        "id": sweep.id,
        "name": sweep.display_name,
        "state": sweep.state,
        "method": sweep.method,
        "runs": sweep.run_count,
        "expected": sweep.expected_run_count,
        "best loss": sweep.best_loss,
        "created": time_text(sweep.created_at),
    }


def _best(run: Run | None, order: str | None) -> dict[str, Any]:
    """The best run and its value of the sweep's metric."""
    metric = (order or "")[1:].removeprefix("summary_metrics.")
    found: dict[str, Any] = {
        "best run": run.id if run else None,
        "best run name": run.name if run else None,
    }
    if metric and run:
        found["metric"] = metric
        found["best value"] = run.summary.get(metric)
    return found
