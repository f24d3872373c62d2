"""Curves of logged values: in the terminal, or as a picture."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import msgspec

from aiowandb.cli.output import console, printable
from aiowandb.errors import UsageError, extra_needed

_PICTURES = (".png", ".svg", ".pdf")
_HEIGHT = 16


class Curve(msgspec.Struct, frozen=True):
    """The numbers that were logged under a key, and the steps at which they were."""

    key: str
    steps: Sequence[float]
    values: Sequence[float]

    @classmethod
    def of(cls, key: str, rows: Iterable[Mapping[str, Any]]) -> Self:
        points = [(row["_step"], row[key]) for row in rows if _is_number(row.get(key))]
        return cls(key, [step for step, _ in points], [value for _, value in points])


def drawn(curves: Sequence[Curve], width: int, *, color: bool) -> str:
    """The curves in characters."""
    with extra_needed("plot", "A curve"):
        from uniplot import plot_to_string

    return plot_to_string(
        [curve.values for curve in curves],
        [curve.steps for curve in curves],
        legend_labels=[printable(curve.key).plain for curve in curves],
        lines=True,
        color=color,
        width=width,
        height=_HEIGHT,
    )


def print_curves(curves: Sequence[Curve]) -> None:
    """Draw the curves in this terminal."""
    width = min(console.width - 14, 100)  # the scale stands on the right
    print(drawn(curves, width, color=console.is_terminal and not console.no_color))


def painted(curves: Sequence[Curve], title: str, file: Path) -> None:
    """Write the curves as a picture whose kind the file's name says."""
    if file.suffix.lower() not in _PICTURES:
        raise UsageError(f"A picture's name ends in {', '.join(_PICTURES)}; {file} does not.")
    with extra_needed("plot", "A picture"):
        from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot(title=title, xlabel="_step")
    for curve in curves:
        axes.plot(curve.steps, curve.values, label=curve.key)
    axes.legend()
    figure.savefig(file, dpi=150)


def _is_number(value: Any) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond all floats
        return False
