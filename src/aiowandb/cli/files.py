"""`aiowandb files`: lists the files of a run, or downloads them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import click

from aiowandb.choices import TableFormat
from aiowandb.cli.options import connect, connection, table_format
from aiowandb.cli.output import print_records

if TYPE_CHECKING:
    from aiowandb.api import AsyncApi, File

_GLOB_TO_LIKE = str.maketrans({"*": "%", "?": "_", "%": r"\%", "_": r"\_", "\\": r"\\"})


@click.command()
@click.argument("run", metavar="ENTITY/PROJECT/RUN")
@connection
@click.option("--pattern", metavar="GLOB", help="Only names that match, with * and ? as wildcards.")
@click.option(
    "--download",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Download to this folder, skipping files that exist.",
)
@click.option("--replace", is_flag=True, help="Download files that exist, too.")
@table_format
def files(
    run: str,
    base_url: str | None,
    local: Path | None,
    pattern: str | None,
    folder: Path | None,
    replace: bool,
    format: TableFormat,
) -> None:
    """List the files of a run, or download them.

    \b
    Examples:
      aiowandb files me/mnist/abc123
      aiowandb files me/mnist/abc123 --pattern '*.json' --format json
      aiowandb files me/mnist/abc123 --pattern 'media/images/*' --download pictures
    """
    if replace and folder is None:
        raise click.UsageError("--replace requires --download.")
    api = connect(base_url, local)
    like = pattern.translate(_GLOB_TO_LIKE) if pattern else None
    print_records(anyio.run(_files, api, run, like, folder, replace), format, "files")


async def _files(
    api: AsyncApi, path: str, pattern: str | None, folder: Path | None, replace: bool
) -> list[dict[str, Any]]:
    async with api:
        found = (await api.run(path)).files(pattern=pattern, per_page=200)
        if folder is None:
            return [_record(file) async for file in found]
        paths = await found.download(folder, replace=replace, exist_ok=True)
        return [{"path": str(path), "size": path.stat().st_size} for path in paths]


def _record(file: File) -> dict[str, Any]:
    return {
        "name": file.name,
        "size": file.size,
        "type": file.mimetype,
        "updated": file.updated_at.isoformat(" ", "seconds") if file.updated_at else None,
    }
