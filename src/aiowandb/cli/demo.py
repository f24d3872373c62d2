"""`aiowandb demo`: the whole road on a sample project, with no account and no network."""

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

_LOOK = (
    "import pyarrow.parquet as pq; t = pq.read_table({folder});"
    ' print(t.schema.names, *t.slice(0, 3).to_pylist(), sep="\\n")'
)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), default="aiowandb-demo")
def demo(folder: Path) -> None:
    """Make a sample project in an embedded W&B and export it to Parquet and CSV.

    Everything lies in FOLDER; run again, the command uses the same project.

    \b
    Examples:
      aiowandb demo
      aiowandb demo /tmp/try-it
    """
    anyio.run(_demo, folder)


async def _demo(folder: Path) -> None:
    from aiowandb.api import AsyncApi
    from aiowandb.embedded import build_sample

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
    console.print(printable(f"\nThe project is {project}. Try next:"))
    for line in _next_commands(project, store):
        console.print(printable(f"  {line}"), soft_wrap=True)
    console.print("\nLook at the rows:")
    # soft_wrap: a line broken by the console would not survive being pasted.
    console.print(printable(f"  {_look(folder / 'parquet' / 'history')}"), soft_wrap=True)


def _next_commands(project: str, store: Path) -> list[str]:
    """Commands that show more of the sample project, ready to be pasted."""
    local = f"--local {shlex.quote(str(store))}"
    return [
        f"aiowandb runs {project} {local} --limit 5",
        f"aiowandb export {project} {shlex.quote(str(store.parent / 'out'))} {local}",
        f"aiowandb serve --data {shlex.quote(str(store))}",
    ]


def _look(history: Path) -> str:
    """A line for the shell that shows the first rows of the dataset."""
    python = Path(sys.executable)
    if python.is_relative_to(Path.cwd()):
        python = python.relative_to(Path.cwd())
    code = _LOOK.format(folder=orjson.dumps(str(history)).decode())
    return f"{shlex.quote(str(python))} -c {shlex.quote(code)}"
