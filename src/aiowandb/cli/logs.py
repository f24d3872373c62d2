"""`aiowandb logs`: prints the console output of a run."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import click

from aiowandb.choices import TableFormat
from aiowandb.cli.following import follow_run, new_lines
from aiowandb.cli.options import connect, connection, table_format
from aiowandb.cli.output import console, printable, record_printer

if TYPE_CHECKING:
    from aiowandb.api import AsyncApi
    from aiowandb.wire.console import ConsoleLogLine

_COLUMNS = ("number", "timestamp", "level", "label", "line")


@click.command()
@click.argument("path", metavar="ENTITY/PROJECT/RUN")
@connection
@click.option("--last", type=click.IntRange(1), metavar="N", help="Only the last N lines.")
@click.option(
    "--follow", "-f", is_flag=True, help="Print new lines as they arrive, until the run ends."
)
@table_format
def logs(
    path: str,
    base_url: str | None,
    local: Path | None,
    last: int | None,
    follow: bool,
    format: TableFormat,
) -> None:
    """Print the console output (stdout and stderr) of a run.

    \b
    Examples:
      aiowandb logs me/mnist/a1b2c3d4
      aiowandb logs me/mnist/a1b2c3d4 --last 20 --follow
      aiowandb logs me/mnist/a1b2c3d4 --format json
    """
    anyio.run(_print, connect(base_url, local), path, last, follow, format)


async def _print(
    api: AsyncApi, path: str, last: int | None, follow: bool, format: TableFormat
) -> None:
    async with api:
        run = await api.run(path)
        lines: AsyncGenerator[ConsoleLogLine] = (
            follow_run(api, run, new_lines(run, last)) if follow else new_lines(run, last)()
        )
        show = _line_printer(format)
        async with aclosing(lines):
            async for line in lines:
                show(line)


def _line_printer(format: TableFormat) -> Callable[[ConsoleLogLine], None]:
    if format == "table":
        return lambda line: console.print(printable(line.content), soft_wrap=True)
    show = record_printer(format, _COLUMNS)
    return lambda line: show(_record(line))


def _record(line: ConsoleLogLine) -> dict[str, Any]:
    return {
        "number": line.number,
        "timestamp": line.timestamp.isoformat() if line.timestamp else None,
        "level": line.level,
        "label": line.label,
        "line": line.content,
    }
