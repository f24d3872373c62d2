"""`aiowandb artifacts`: lists artifacts of runs and their versions, and downloads them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import click

from aiowandb.choices import TableFormat
from aiowandb.cli.options import connect, connection, table_format
from aiowandb.cli.output import print_error, print_records, time_text
from aiowandb.cli.usage_errors import Group

if TYPE_CHECKING:
    from aiowandb.api import Artifact, AsyncApi


@click.group(cls=Group)
def artifacts() -> None:
    """List artifacts of a run or versions of an artifact, and download them.

    \b
    Examples:
      aiowandb artifacts list me/mnist/a1b2c3d4
      aiowandb artifacts list me/mnist/digits --type dataset --format json
      aiowandb artifacts download me/mnist/digits:latest digits
    """


@artifacts.command("list")
@click.argument("path", metavar="ENTITY/PROJECT/RUN|NAME")
@connection
@click.option(
    "--used", is_flag=True, help="List the artifacts that the run used, not those it logged."
)
@click.option(
    "--type", "kind", metavar="TYPE", help="List the versions of the artifact NAME of this type."
)
@table_format
def list_command(
    path: str,
    base_url: str | None,
    local: Path | None,
    used: bool,
    kind: str | None,
    format: TableFormat,
) -> None:
    """List the artifacts that a run logged, or with --type the versions of an artifact.

    \b
    Examples:
      aiowandb artifacts list me/mnist/a1b2c3d4 --used
      aiowandb artifacts list me/mnist/digits --type dataset
    """
    if used and kind:
        raise click.UsageError("--used is for runs, --type for artifacts: use only one of them.")
    api = connect(base_url, local)
    print_records(anyio.run(_list, api, path, used, kind), format, "artifacts")


@artifacts.command()
@click.argument("name", metavar="ENTITY/PROJECT/NAME:ALIAS")
@click.argument(
    "folder", metavar="[FOLDER]", required=False, type=click.Path(path_type=Path, file_okay=False)
)
@connection
@click.option("--prefix", metavar="PATH", help="Only files whose names start with this.")
@table_format
def download(
    name: str,
    folder: Path | None,
    base_url: str | None,
    local: Path | None,
    prefix: str | None,
    format: TableFormat,
) -> None:
    """Download an artifact into FOLDER, by default artifacts/NAME:VERSION.

    Files that are already there and intact are not downloaded again. References to storage
    outside of W&B are reported but not downloaded.

    \b
    Examples:
      aiowandb artifacts download me/mnist/digits:latest
      aiowandb artifacts download me/mnist/digits:v0 data --prefix train/
    """
    api = connect(base_url, local)
    files, references = anyio.run(_download, api, name, folder, prefix)
    print_records(files, format, "files")
    for entry, target in references.items():
        print_error(f"Not downloaded: {entry} is outside of W&B, at {target}")


async def _list(api: AsyncApi, path: str, used: bool, kind: str | None) -> list[dict[str, Any]]:
    async with api:
        if kind:
            found = api.artifacts(kind, path, per_page=200)
        else:
            run = await api.run(path)
            found = run.used_artifacts() if used else run.logged_artifacts()
        return [_record(artifact) async for artifact in found]


async def _download(
    api: AsyncApi, name: str, folder: Path | None, prefix: str | None
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    async with api:
        artifact = await api.artifact(name)
        done = await artifact.download(folder, path_prefix=prefix)
    files = [{"path": str(path), "size": path.stat().st_size} for path in done.files]
    return files, dict(done.references)


def _record(artifact: Artifact) -> dict[str, Any]:
    return {
        "name": artifact.name,
        "type": artifact.type,
        "version": artifact.version,
        "aliases": artifact.aliases,
        "size": artifact.size,
        "files": artifact.file_count,
        "created": time_text(artifact.created_at),
    }
