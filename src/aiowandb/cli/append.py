"""`aiowandb append`: rows for the end of a run's history."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import click

from aiowandb.cli.options import connect_blocking, connection
from aiowandb.cli.output import console, printable
from aiowandb.errors import UsageError


@click.command()
@click.argument("path", metavar="ENTITY/PROJECT/RUN")
@click.argument("file", type=click.File("rb"), default="-")
@connection
@click.option(
    "--state",
    type=click.Choice(["finished", "failed", "running"]),
    help="The run's state afterwards; else what it was before.",
)
def append(
    path: str, file: IO[bytes], base_url: str | None, local: Path | None, state: str | None
) -> None:
    """Add rows to the end of a run's history, also of one that has finished.

    FILE, or stdin, has a JSON object a line. A row may say its `_step`, which must lie
    behind the last one; else it gets the next. All rows before a wrong line are kept.

    \b
    Examples:
      echo '{"loss": 0.1}' | aiowandb append me/mnist/a1b2c3d4
      aiowandb append me/mnist/a1b2c3d4 rows.jsonl --state finished
    """
    count = 0
    # Blocking: a pipe can be waited for in the main thread only, where Ctrl-C arrives.
    with connect_blocking(base_url, local) as api:
        run = api.run(path)
        with run.append(state=state) as log:
            for number, line in _lines(file):
                try:
                    log(_row(line))
                except UsageError as error:
                    raise UsageError(f"Line {number}: {error}") from error
                count += 1
        console.print(printable(f"{count:,} rows added; the last step is {run.last_step:,}."))


def _lines(file: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, and their numbers."""
    try:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, line
    except KeyboardInterrupt:
        pass  # whoever ends the input wants to keep what came of it


def _row(line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line, strict=False)  # knows NaN, as W&B does
    except (ValueError, RecursionError) as error:
        raise UsageError(f"this is no JSON: {error}.") from None
    if not isinstance(row, dict):
        raise UsageError('a row is a JSON object, like {"loss": 0.1}.')
    return row
