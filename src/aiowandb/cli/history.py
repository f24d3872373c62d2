"""`aiowandb history`: the rows of a run, as a table, for programs, or as a curve."""

from __future__ import annotations

import warnings
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import click

from aiowandb.choices import TableFormat
from aiowandb.cli.following import followed, new_rows
from aiowandb.cli.options import KeysOption, connect, connection, table_format
from aiowandb.cli.output import (
    complain,
    console,
    print_records,
    printable,
    readable,
    record_printer,
)
from aiowandb.errors import AiowandbWarning
from aiowandb.suggestions import did_you_mean
from aiowandb.wire.dotted import is_meant, names_meant

if TYPE_CHECKING:
    from aiowandb.api import AsyncApi, Run
    from aiowandb.cli.curves import Curve

_OTHER_SEPARATOR = str.maketrans("./", "/.")
_TERMINAL = "-"
_COLUMN = 16  # characters that a column of a table needs at least


@click.command()
@click.argument("path", metavar="ENTITY/PROJECT/RUN")
@connection
@click.option("--keys", "-k", cls=KeysOption, help="Keys or globs, like a,b or repeated.")
@click.option("--any-key", is_flag=True, help="Rows that have any of --keys, instead of all.")
@click.option("--samples", type=click.IntRange(1), help="At most so many rows.  [default: 500]")
@click.option("--all", "everything", is_flag=True, help="Every row, not a sample.")
@click.option(
    "--follow", "-f", is_flag=True, help="Print new rows as they come, until the run has ended."
)
@table_format
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
    any_key: bool,
    samples: int | None,
    everything: bool,
    follow: bool,
    format: TableFormat,
    plot: str | None,
) -> None:
    """Read the rows of a run: a sample of them, all, or those that are still to come.

    With several keys only rows that have all of them are given, as W&B does, or with
    --any-key those that have any; curves are drawn of each key by itself. With --follow,
    --all begins with the rows so far.

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
        raise click.UsageError("--all and --samples exclude each other.")
    if plot and not keys:
        raise click.UsageError("--plot draws the curves of keys: name them with --keys.")
    if follow and (samples or plot):
        raise click.UsageError("--follow gives every new row: leave --samples and --plot out.")
    if follow and format == "csv" and not keys:
        raise click.UsageError("--follow cannot know the columns of a CSV: name --keys.")
    if any_key and (not keys or plot or not (everything or follow)):
        raise click.UsageError("--any-key goes with --keys, and with --all or --follow.")
    if plot and format != "table":
        raise click.UsageError("--plot draws instead of printing rows: leave --format out.")
    wanted = None if everything else samples or 500
    api = connect(base_url, local)
    if follow:
        anyio.run(_follow, api, path, keys, any_key, everything, format)
    elif plot:
        _draw(anyio.run(_curves, api, path, keys, wanted), path, plot)
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
        # Columns that are known beforehand, or none, need not wait for the last row.
        if format == "json" or (format == "csv" and keys and not _unknown(run, keys)):
            show = record_printer(format, ["_step", *_names(run, keys)])
            async with aclosing(rows):
                async for row in rows:
                    show(row)
            return
        found = [row async for row in rows]
    names = list(dict.fromkeys(name for row in found for name in row))
    if format == "table" and not keys:
        names = _most_telling(names)
    if keys:
        meant = [name for name in names if is_meant(name, keys) and name != "_step"]
        _say_unknown(run, keys, meant)
        names = ["_step", *(meant or keys)]
        if format == "csv" and not found:
            record_printer(format, names)  # no row, but the columns
    print_records([{name: row.get(name) for name in names} for row in found], format)


async def _follow(
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
        news = new_rows(run, list(keys) or None, after, any_key=any_key)
        show = (
            _print_row
            if format == "table"
            else record_printer(format, ["_step", *_names(run, keys)])
        )
        async with aclosing(followed(api, run, news)) as rows:
            async for row in rows:
                show(row)


def _print_row(row: Mapping[str, Any]) -> None:
    """A row in a line: the columns of rows that are still to come are not known."""
    values = [f"{key}={readable(value)}" for key, value in row.items() if not key.startswith("_")]
    console.print(printable("  ".join([f"{row['_step']:>8,}", *values])), soft_wrap=True)
    console.file.flush()


def _unknown(run: Run, keys: Sequence[str]) -> list[str]:
    """The keys of which W&B has not said that the run has logged them."""
    known = run.history_keys.keys if run.history_keys else {}
    return [key for key, group in zip(keys, names_meant(keys, known), strict=True) if not group]


def _say_unknown(run: Run, keys: Sequence[str], names: Sequence[str]) -> None:
    """Say which keys nothing was found under."""
    known = run.history_keys.keys if run.history_keys else {}
    for key in _unknown(run, keys):
        if not any(is_meant(name, [key]) for name in names):
            complain(f"run {run.ref} has no key {key!r}{_hint(key, known)}")


def _hint(key: str, known: Collection[str]) -> str:
    """Which key was probably meant: W&B's own pages write nested keys with a slash."""
    other = key.translate(_OTHER_SEPARATOR)
    if any(is_meant(name, [other]) for name in known):
        return f"; did you mean {other!r}?"
    return did_you_mean(key, known) or "."


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
    run: Run, keys: Sequence[str], samples: int | None, *, any_key: bool = False
) -> AsyncGenerator[dict[str, Any]]:
    chosen = list(keys) or None
    if samples:
        for row in await run.history(samples, chosen, pandas=False):
            yield row
    else:
        async with aclosing(run.scan_history(chosen, any_key=any_key)) as rows:
            async for row in rows:
                yield row


async def _curves(
    api: AsyncApi, path: str, keys: Sequence[str], samples: int | None
) -> list[Curve]:
    from aiowandb.cli.curves import Curve

    # The error for a curve without values says it.
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
            raise click.ClickException(f"Run {run.ref} has no numbers under {curve.key!r}{hint}")
    return curves


def _draw(curves: Sequence[Curve], title: str, plot: str) -> None:
    from aiowandb.cli.curves import painted, print_curves

    if plot == _TERMINAL:
        print_curves(curves)
    else:
        painted(curves, title, Path(plot))
        console.print(printable(plot), soft_wrap=True)
