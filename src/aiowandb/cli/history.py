"""`aiowandb history`: prints the rows of a run, or plots them."""

from __future__ import annotations

import warnings
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import click

from aiowandb.choices import TableFormat
from aiowandb.cli.following import follow_run, new_rows
from aiowandb.cli.options import KeysOption, connect, connection, table_format
from aiowandb.cli.output import (
    console,
    print_error,
    print_records,
    printable,
    readable,
    record_printer,
)
from aiowandb.errors import AiowandbWarning
from aiowandb.suggestions import did_you_mean
from aiowandb.wire.dotted import matches_any, matching_names

if TYPE_CHECKING:
    from aiowandb.api import AsyncApi, Run
    from aiowandb.cli.curves import Curve

_TERMINAL = "-"
_COLUMN = 16  # minimum width of a table column


@click.command()
@click.argument("path", metavar="ENTITY/PROJECT/RUN")
@connection
@click.option("--keys", "-k", cls=KeysOption, help="Names or globs, comma-separated or repeated.")
@click.option("--any-key", is_flag=True, help="Rows with a value for any of --keys, not all.")
@click.option("--samples", type=click.IntRange(1), help="At most this many rows.  [default: 500]")
@click.option("--all", "everything", is_flag=True, help="All rows, not a sample.")
@click.option(
    "--follow", "-f", is_flag=True, help="Print new rows as they arrive, until the run ends."
)
@table_format
@click.option(
    "--plot",
    is_flag=False,
    flag_value=_TERMINAL,
    metavar="[FILE]",
    help="Plot the keys in the terminal, or to an image file (.png, .svg, .pdf).",
)
def history(
    path: str,
    base_url: str | None,
    local: Path | None,
    keys: tuple[str, ...],
    any_key: bool,
    samples: int | None,
    everything: bool,
    follow: bool,
    format: TableFormat,
    plot: str | None,
) -> None:
    """Print the rows of a run: a sample, all of them, or new ones as they arrive.

    With several keys, only rows that have all of them are printed, as W&B does, or with
    --any-key those that have any. A plot shows each key by itself. With --follow, --all
    starts with the existing rows.

    \b
    Examples:
      aiowandb history me/mnist/a1b2c3d4 --keys loss --samples 20
      aiowandb history me/mnist/a1b2c3d4 --all --format json > rows.jsonl
      aiowandb history me/mnist/a1b2c3d4 --all --keys loss,val/loss --any-key
      aiowandb history me/mnist/a1b2c3d4 --all --follow -k loss
      aiowandb history me/mnist/a1b2c3d4 -k loss -k val/loss --plot
      aiowandb history me/mnist/a1b2c3d4 -k loss --plot loss.png
    """
    if everything and samples:
        raise click.UsageError("--all and --samples cannot be combined.")
    if plot and not keys:
        raise click.UsageError("--plot requires --keys.")
    if follow and (samples or plot):
        raise click.UsageError("--follow cannot be combined with --samples or --plot.")
    if follow and format == "csv" and not keys:
        raise click.UsageError("--follow requires --keys for CSV, whose columns must be known.")
    if any_key and (not keys or plot or not (everything or follow)):
        raise click.UsageError("--any-key requires --keys, and --all or --follow.")
    if plot and format != "table":
        raise click.UsageError("--plot cannot be combined with --format.")
    wanted = None if everything else samples or 500
    api = connect(base_url, local)
    if follow:
        anyio.run(_print_new, api, path, keys, any_key, everything, format)
    elif plot:
        _plot(anyio.run(_curves, api, path, keys, wanted), path, plot)
    else:
        anyio.run(_print, api, path, keys, any_key, wanted, format)


async def _print(
    api: AsyncApi,
    path: str,
    keys: Sequence[str],
    any_key: bool,
    samples: int | None,
    format: TableFormat,
) -> None:
    async with api:
        run = await api.run(path)
        rows = _rows(run, keys, samples, any_key=any_key)
        # If the columns are known, or do not matter, rows are printed as they arrive.
        if format == "json" or (format == "csv" and keys and not _unknown(run, keys)):
            show = record_printer(format, ["_step", *_names(run, keys)])
            async with aclosing(rows):
                async for row in rows:
                    show(row)
            return
        found = [row async for row in rows]
    names = list(dict.fromkeys(name for row in found for name in row))
    if format == "table" and not keys:
        names = _fitting_columns(names)
    if keys:
        meant = [name for name in names if matches_any(name, keys) and name != "_step"]
        names = ["_step", *(meant or keys)]
        if format == "csv" and not found:
            record_printer(format, names)  # just the header
    print_records([{name: row.get(name) for name in names} for row in found], format, "rows")


async def _print_new(
    api: AsyncApi,
    path: str,
    keys: Sequence[str],
    any_key: bool,
    everything: bool,
    format: TableFormat,
) -> None:
    async with api:
        run = await api.run(path)
        after = -1 if everything or run.last_step is None else run.last_step
        fetch_new = new_rows(run, list(keys) or None, after, any_key=any_key)
        show = (
            _print_row
            if format == "table"
            else record_printer(format, ["_step", *_names(run, keys)])
        )
        async with aclosing(follow_run(api, run, fetch_new)) as rows:
            async for row in rows:
                show(row)


def _print_row(row: Mapping[str, Any]) -> None:
    """A row in one line: a table would need to know the columns of later rows."""
    values = [f"{key}={readable(value)}" for key, value in row.items() if not key.startswith("_")]
    console.print(printable("  ".join([f"{row['_step']:>8,}", *values])), soft_wrap=True)
    console.file.flush()


def _unknown(run: Run, keys: Sequence[str]) -> list[str]:
    """The keys that W&B does not list for this run."""
    known = run.history_keys.keys if run.history_keys else {}
    return [key for key, group in zip(keys, matching_names(keys, known), strict=True) if not group]


def _names(run: Run, keys: Sequence[str]) -> list[str]:
    """The column names that the keys select in this run."""
    known = run.history_keys.keys if run.history_keys else {}
    groups = zip(keys, matching_names(keys, known), strict=True)
    return list(dict.fromkeys(name for key, group in groups for name in group or [key]))


def _fitting_columns(names: list[str]) -> list[str]:
    """As many columns as fit the terminal."""
    own = [name for name in names if not name.startswith("_")]
    fitting = own[: max(1, console.width // _COLUMN - 1)]
    if left := len(own) - len(fitting):
        print_error(f"{left} more columns: select some with --keys, or use --format json.")
    return ["_step", *fitting]


async def _rows(
    run: Run, keys: Sequence[str], samples: int | None, *, any_key: bool = False
) -> AsyncGenerator[dict[str, Any]]:
    wanted = list(keys) or None
    if samples:
        for row in await run.history(samples, wanted, pandas=False):
            yield row
    else:
        async with aclosing(run.scan_history(wanted, any_key=any_key)) as rows:
            async for row in rows:
                yield row


async def _curves(
    api: AsyncApi, path: str, keys: Sequence[str], samples: int | None
) -> list[Curve]:
    from aiowandb.cli.curves import Curve

    # A curve without values is an error below; a warning as well would be noise.
    warnings.simplefilter("ignore", AiowandbWarning)
    async with api:
        run = await api.run(path)
        curves = [
            Curve.of(name, [row async for row in _rows(run, [name], samples)])
            for name in _names(run, keys)
        ]
    for curve in curves:
        if not curve.values:
            known = run.history_keys.keys if run.history_keys else {}
            hint = did_you_mean(curve.key, known) or "."
            raise click.ClickException(
                f"Run {run.ref} has no numeric values for {curve.key!r}{hint}"
            )
    return curves


def _plot(curves: Sequence[Curve], title: str, plot: str) -> None:
    from aiowandb.cli.curves import print_curves, save_plot

    if plot == _TERMINAL:
        print_curves(curves)
    else:
        save_plot(curves, title, Path(plot))
        console.print(printable(plot), soft_wrap=True)
