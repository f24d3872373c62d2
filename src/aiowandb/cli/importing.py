"""`aiowandb restore` and `aiowandb import`: write runs of exports, logs and tables to W&B."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aiowandb.cli.copy_reports import run_copy, write_options
from aiowandb.cli.options import connect, connection

if TYPE_CHECKING:
    from aiowandb.api import AsyncApi
    from aiowandb.ingest import CopyReport

_PATH = click.Path(path_type=Path, exists=True)


class _PathOrUri(click.Path):
    """A path that exists, or the URI of a tracking server."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        return value if "://" in str(value) else super().convert(value, param, ctx)


@click.command()
@click.argument("folder", metavar="FOLDER", type=_PATH)
@click.argument("target", metavar="DST")
@connection
@write_options
def restore(
    folder: Path, target: str, base_url: str | None, local: Path | None, **options: Any
) -> None:
    """Write the runs that `aiowandb export` has written to FOLDER into project DST.

    The export must be in Parquet. Run the same command again to resume.

    \b
    Examples:
      aiowandb export me/mnist backup && aiowandb restore backup me/restored
    """
    api = connect(base_url, local, reports_waits=False)
    run_copy(partial(_restore, api, folder, target), options)


@click.command("import")
@click.argument("source", metavar="SOURCE", type=_PathOrUri(exists=True, path_type=Path))
@click.argument("target", metavar="DST")
@connection
@click.option("--run-column", metavar="NAME", help="The column with the id of each row's run.")
@click.option("--step-column", metavar="NAME", help="The column with steps.")
@click.option("--time-column", metavar="NAME", help="The column with seconds since 1970.")
@click.option(
    "--config-column",
    multiple=True,
    metavar="NAME",
    help="A column with a config value; repeatable.",
)
@write_options
def import_(
    source: Path,
    target: str,
    base_url: str | None,
    local: Path | None,
    run_column: str | None,
    step_column: str | None,
    time_column: str | None,
    config_column: tuple[str, ...],
    **options: Any,
) -> None:
    """Write the runs of SOURCE into project DST.

    SOURCE is a folder that wandb logs to, as in offline mode, or a .wandb file; a folder
    of TensorBoard's logs; an MLflow store, by its folder, database or URI; or a table, or
    a folder of tables: Parquet, CSV or JSON Lines. In tables, columns with common names
    are found: run_id, step, timestamp. Without a column of run ids, each file is a run.
    Run the same command again to resume.

    \b
    Examples:
      aiowandb import rows.jsonl me/imported
      aiowandb import rows.jsonl me/tables --config-column loss --plan
    """
    columns = {"run": run_column, "step": step_column, "time": time_column}
    api = connect(base_url, local, reports_waits=False)
    run_copy(partial(_import, api, source, target, columns, config_column), options)


async def _restore(api: AsyncApi, folder: Path, target: str, **options: Any) -> CopyReport:
    async with api:
        return await api.restore(folder, target, **options)


async def _import(
    api: AsyncApi,
    path: Path,
    target: str,
    columns: dict[str, str | None],
    config: tuple[str, ...],
    **options: Any,
) -> CopyReport:
    from aiowandb import TableSource

    source: Any = path
    if config or any(columns.values()):
        source = TableSource(path, **columns, config=config)
    async with api:
        return await api.import_runs(source, target, **options)
