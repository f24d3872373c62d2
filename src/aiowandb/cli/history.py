"""`aiowandb history`: the rows of a run, as a table, for programs, or as a curve."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import click

from aiowandb.cli.options import connect, connection
from aiowandb.cli.output import (
    TableFormat,
    complain,
    console,
    print_records,
    printable,
    record_printer,
)
from aiowandb.wire.dotted import names_meant

if TYPE_CHECKING:
    from aiowandb.api import AsyncApi, Run
    from aiowandb.cli.curves import Curve

_TERMINAL = "-"
_COLUMN = 16  # characters that a column of a table needs at least


@click.command()
@click.argument("path", metavar="ENTITY/PROJECT/RUN")
@connection
@click.option("--keys", "-k", multiple=True, metavar="KEY", help="A key or glob; can be repeated.")
@click.option("--samples", type=click.IntRange(1), help="At most so many rows.  [default: 500]")
@click.option("--all", "everything", is_flag=True, help="Every row, not a sample.")
@click.option("--format", type=click.Choice(["table", "json", "csv"]), default="table")
@click.option(
    "--plot",
    is_flag=False,
    flag_value=_TERMINAL,
    metavar="[FILE]",
    help="Draw the curves of the keys: here, or into a picture (.png, .svg, .pdf).",
)
def history(
    path: str,
    base_url: str | None,
    local: Path | None,
    keys: tuple[str, ...],
    samples: int | None,
    everything: bool,
    format: TableFormat,
    plot: str | None,
) -> None:
    """Read the rows of a run: a sample of them, or all.

    With several keys only rows that have all of them are given, as W&B does; curves
    are drawn of each key by itself.

    \b
    Examples:
      aiowandb history me/mnist/a1b2c3d4 --keys loss --samples 20
      aiowandb history me/mnist/a1b2c3d4 --all --format json > rows.jsonl
      aiowandb history me/mnist/a1b2c3d4 -k loss -k val/loss --plot
      aiowandb history me/mnist/a1b2c3d4 -k loss --plot loss.png
    """
    if everything and samples:
        raise click.UsageError("--all and --samples exclude each other.")
    if plot and not keys:
        raise click.UsageError("--plot draws the curves of keys: name them with --keys.")
    wanted = None if everything else samples or 500
    api = connect(base_url, local)
    if plot:
        _draw(anyio.run(_curves, api, path, keys, wanted), path, plot)
    else:
        anyio.run(_print, api, path, keys, wanted, format)


async def _print(
    api: AsyncApi, path: str, keys: Sequence[str], samples: int | None, format: TableFormat
) -> None:
    async with api:
        run = await api.run(path)
        rows = _rows(run, keys, samples)
        if format == "json" or (format == "csv" and keys):
            # Nothing has to be known beforehand: as many rows as there are.
            show = record_printer(format, ["_step", *_names(run, keys)])
            async with aclosing(rows):
                async for row in rows:
                    show(row)
            return
        found = [row async for row in rows]
    names = list(dict.fromkeys(name for row in found for name in row))
    if format == "table" and not keys:
        names = _most_telling(names)
    print_records([{name: row.get(name) for name in names} for row in found], format)


def _names(run: Run, keys: Sequence[str]) -> list[str]:
    """What the keys mean in this run: of a nest of keys, those that are in it."""
    known = run.history_keys.keys if run.history_keys else {}
    groups = zip(keys, names_meant(keys, known), strict=True)
    return list(dict.fromkeys(name for key, group in groups for name in group or [key]))


def _most_telling(names: list[str]) -> list[str]:
    """As many columns as a person can read here."""
    own = [name for name in names if not name.startswith("_")]
    shown = own[: max(1, console.width // _COLUMN - 1)]
    if left := len(own) - len(shown):
        complain(f"{left} more columns: name some with --keys, or take --format json.")
    return ["_step", *shown]


async def _rows(
    run: Run, keys: Sequence[str], samples: int | None
) -> AsyncGenerator[dict[str, Any]]:
    chosen = list(keys) or None
    if samples:
        for row in await run.history(samples, chosen, pandas=False):
            yield row
    else:
        async with aclosing(run.scan_history(chosen)) as rows:
            async for row in rows:
                yield row


async def _curves(
    api: AsyncApi, path: str, keys: Sequence[str], samples: int | None
) -> list[Curve]:
    from aiowandb.cli.curves import Curve

    async with api:
        run = await api.run(path)
        curves = [
            Curve.of(name, [row async for row in _rows(run, [name], samples)])
            for name in _names(run, keys)
        ]
    for curve in curves:
        if not curve.values:
            raise click.ClickException(f"Run {run.ref} has no numbers under {curve.key!r}.")
    return curves


def _draw(curves: Sequence[Curve], title: str, plot: str) -> None:
    from aiowandb.cli.curves import drawn, painted

    if plot == _TERMINAL:
        width = min(console.width - 14, 100)  # the scale stands on the right
        print(drawn(curves, width, color=console.is_terminal and not console.no_color))
    else:
        painted(curves, title, Path(plot))
        console.print(printable(plot), soft_wrap=True)
