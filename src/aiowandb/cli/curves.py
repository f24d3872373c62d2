"""Plots of logged values: in the terminal, or as an image file."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import msgspec

from aiowandb.cli.output import console, printable
from aiowandb.errors import UsageError, extra_needed

_IMAGE_SUFFIXES = (".png", ".svg", ".pdf")
_HEIGHT = 16


class Curve(msgspec.Struct, frozen=True):
    """The numbers logged for a key, and their steps."""

    key: str
    steps: Sequence[float]
    values: Sequence[float]

    @classmethod
    def of(cls, key: str, rows: Iterable[Mapping[str, Any]]) -> Self:
        points = [(row["_step"], row[key]) for row in rows if _is_number(row.get(key))]
        return cls(key, [step for step, _ in points], [value for _, value in points])


def render_curves(curves: Sequence[Curve], width: int, *, color: bool) -> str:
    """The plot as text."""
    with extra_needed("plot", "A plot"):
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
    """Print the plot to this terminal."""
    width = min(console.width - 14, 100)  # the y axis is on the right
    print(render_curves(curves, width, color=console.is_terminal and not console.no_color))


def save_plot(curves: Sequence[Curve], title: str, file: Path) -> None:
    """Save the plot as an image; the file's suffix decides the format."""
    if file.suffix.lower() not in _IMAGE_SUFFIXES:
        raise UsageError(
            f"A plot is saved as {', '.join(_IMAGE_SUFFIXES)}; {file} has another suffix."
        )
    with extra_needed("plot", "Saving a plot"):
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
    except OverflowError:  # an integer too large for a float
        return False
