"""`aiowandb compare`: shows how runs differ in config and summary, or plots their curves."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import click

from aiowandb.choices import TableFormat
from aiowandb.cli.options import connect, connection, table_format
from aiowandb.cli.output import console, print_error, print_records, printable
from aiowandb.errors import AiowandbWarning
from aiowandb.suggestions import did_you_mean
from aiowandb.wire.dotted import flattened

if TYPE_CHECKING:
    from aiowandb.api import AsyncApi, Run
    from aiowandb.cli.curves import Curve

_INTERNAL_KEYS = frozenset({"_wandb", "_runtime", "_timestamp", "_appended"})


@click.command()
@click.argument("paths", metavar="ENTITY/PROJECT/RUN...", nargs=-1, required=True)
@connection
@click.option(
    "--all", "everything", is_flag=True, help="Include values that are the same in all runs."
)
@click.option(
    "--plot",
    "plots",
    multiple=True,
    metavar="KEY",
    help="Plot this key of all runs; can be repeated.",
)
@click.option(
    "--save",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Save the plot to this file (.png, .svg, .pdf).",
)
@table_format
def compare(
    paths: tuple[str, ...],
    base_url: str | None,
    local: Path | None,
    everything: bool,
    plots: tuple[str, ...],
    save: Path | None,
    format: TableFormat,
) -> None:
    """Show how runs differ in config and summary, or plot their curves together.

    \b
    Examples:
      aiowandb compare me/mnist/a1b2c3d4 me/mnist/abc123
      aiowandb compare me/mnist/a1b2c3d4 me/mnist/abc123 --all --format csv
      aiowandb compare me/mnist/a1b2c3d4 me/mnist/abc123 --plot loss
    """
    if len(set(paths)) < 2:
        raise click.UsageError(
            "ENTITY/PROJECT/RUN: two or more different runs are needed to compare."
        )
    if save and not plots:
        raise click.UsageError("--save requires --plot KEY.")
    if plots and (everything or format != "table"):
        raise click.UsageError("--plot cannot be combined with --all or --format.")
    api = connect(base_url, local)
    if plots:
        _plot(anyio.run(_curves, api, paths, plots), ", ".join(plots), save)
        return
    runs = anyio.run(_runs, api, paths)
    records = differences(_columns(runs), everything=everything)
    if not records and format == "table":
        print_error("These runs have the same config and summary; use --all to show them.")
    else:
        print_records(records, format, "values")


def differences(
    columns: Mapping[str, Mapping[str, Any]], *, everything: bool
) -> list[dict[str, Any]]:
    """One record per key, with its value in each run."""
    names = dict.fromkeys(name for values in columns.values() for name in values)
    found = []
    for name in names:
        values = {run: known.get(name) for run, known in columns.items()}
        first, *others = values.values()
        if everything or any(not _same(first, other) for other in others):
            found.append({"key": name} | values)
    return found


def _same(one: Any, other: Any) -> bool:
    """Whether the values are equal; NaN equals NaN, and True is not 1."""
    if isinstance(one, bool) is not isinstance(other, bool):
        return False
    return bool(one == other) or (one != one and other != other)


def _columns(runs: Sequence[Run]) -> dict[str, dict[str, Any]]:
    """Flattened config and summary of each run, by a name that is unique among them."""
    found = {}
    for name, run in zip(_names(runs), runs, strict=True):
        summary = {
            key: value for key, value in dict(run.summary).items() if key not in _INTERNAL_KEYS
        }
        config = {key: value for key, value in run.config.items() if key not in _INTERNAL_KEYS}
        found[name] = flattened({"config": config, "summary": summary})
    return found


def _names(runs: Sequence[Run]) -> list[str]:
    ids = [run.id for run in runs]
    return ids if len(set(ids)) == len(ids) else [str(run.ref) for run in runs]


async def _runs(api: AsyncApi, paths: Sequence[str]) -> list[Run]:
    async with api:
        found = {run.ref: run for run in [await api.run(path) for path in paths]}
        if len(found) < 2:
            raise click.UsageError("ENTITY/PROJECT/RUN: these paths are all the same run.")
        return list(found.values())


async def _curves(api: AsyncApi, paths: Sequence[str], keys: Sequence[str]) -> list[Curve]:
    from aiowandb.cli.curves import Curve

    # A curve without values is an error below; a warning as well would be noise.
    warnings.simplefilter("ignore", AiowandbWarning)
    curves = []
    async with api:
        runs = [await api.run(path) for path in paths]
        for key in keys:
            for name, run in zip(_names(runs), runs, strict=True):
                async with aclosing(run.scan_history([key])) as rows:
                    curve = Curve.of(key, [row async for row in rows])
                if not curve.values:
                    known = run.history_keys.keys if run.history_keys else {}
                    hint = did_you_mean(key, known) or "."
                    raise click.ClickException(
                        f"Run {run.ref} has no numeric values for {key!r}{hint}"
                    )
                label = name if len(keys) == 1 else f"{name} {key}"
                curves.append(Curve(label, curve.steps, curve.values))
    return curves


def _plot(curves: Sequence[Curve], title: str, save: Path | None) -> None:
    from aiowandb.cli.curves import print_curves, save_plot

    if save:
        save_plot(curves, title, save)
        console.print(printable(save), soft_wrap=True)
    else:
        print_curves(curves)
