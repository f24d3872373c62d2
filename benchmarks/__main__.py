"""Run every scene and print one table. Each figure is a median, with its spread beside it."""

from __future__ import annotations

import statistics

from rich.console import Console
from rich.table import Table

from . import export, imports

ROUNDS = 5


def main() -> None:
    table = Table("scene", "figure", "median", "least", "most")
    for scene in (imports, export):
        for figure, values in scene.measure(ROUNDS).items():
            spread = (statistics.median(values), min(values), max(values))
            table.add_row(scene.NAME, figure, *(f"{value:,.3f}" for value in spread))
    Console().print(table)


main()
