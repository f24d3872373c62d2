"""`aiowandb demo`: exports a sample project, with no account and no network."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import click
import orjson

from aiowandb.cli.export import summary
from aiowandb.cli.output import console, printable, table

if TYPE_CHECKING:
    from aiowandb.export import Format

_SHOW_ROWS = (
    "import pyarrow.parquet as pq; t = pq.read_table({folder});"
    ' print(t.schema.names, *t.slice(0, 3).to_pylist(), sep="\\n")'
)
# Where `aiowandb serve` listens by default.
_SERVED_AT = "http://127.0.0.1:8080"


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), default="aiowandb-demo")
def demo(folder: Path) -> None:
    """Make a sample project in an embedded W&B and export it to Parquet and CSV.

    Everything is stored in FOLDER. Running it again uses the same project.

    \b
    Examples:
      aiowandb demo
      aiowandb demo /tmp/try-it
    """
    anyio.run(_demo, folder)


async def _demo(folder: Path) -> None:
    from aiowandb.api import AsyncApi
    from aiowandb.embedded import build_sample, login_link

    store = folder / "wandb"
    console.print(printable(f"Sample project in an embedded W&B in {store} ..."))
    project = await anyio.to_thread.run_sync(build_sample, store)
    rows: list[dict[str, Any]] = []
    files: list[Path | str] = []
    async with AsyncApi.local(store) as api:
        formats: tuple[Format, ...] = ("parquet", "csv")
        for kind in formats:
            result = await api.runs(project).export(folder / kind, format=kind)
            rows.append({"export": kind} | summary(result))
            files += result.files
    console.print(table(rows))
    for file in files:
        console.print(printable(file))
    console.print(f"\nThe project is {project}. Try next:")
    for line in _next_commands(project, store):
        console.print(printable(f"  {line}"), soft_wrap=True)
    console.print("\nTo see the rows:")
    # soft_wrap: a command that the console breaks into lines could not be pasted.
    console.print(
        printable(f"  {_show_rows_command(folder / 'parquet' / 'history')}"), soft_wrap=True
    )
    link = await anyio.to_thread.run_sync(login_link, store, f"/{project}", _SERVED_AT)
    console.print("\nTo look at it in a browser, run `aiowandb serve` as above and open:")
    console.print(printable(f"  {link}"), soft_wrap=True)


def _next_commands(project: str, store: Path) -> list[str]:
    """Commands to explore the sample project with, ready to paste."""
    local = f"--local {shlex.quote(str(store))}"
    return [
        f"aiowandb runs {project} {local} --limit 5",
        f"aiowandb export {project} {shlex.quote(str(store.parent / 'out'))} {local}",
        f"aiowandb serve --data {shlex.quote(str(store))}",
    ]


def _show_rows_command(history: Path) -> str:
    """A shell command that prints the first rows of the dataset."""
    python = Path(sys.executable)
    if python.is_relative_to(Path.cwd()):
        python = python.relative_to(Path.cwd())
    code = _SHOW_ROWS.format(folder=orjson.dumps(str(history)).decode())
    return f"{shlex.quote(str(python))} -c {shlex.quote(code)}"
