"""What the scenes have found, for people and for programs."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks.figures import Costs, Effort, Figure, Findings
from benchmarks.rounds import Sample

_PACKAGES = ("aiowandb", "wandb", "wandb-export", "pyarrow", "msgspec", "orjson", "httpx", "pandas")


class Report(msgspec.Struct, frozen=True):
    """Everything that a run of the benchmarks has measured, and where."""

    effort: Effort
    machine: str
    python: str
    versions: dict[str, str]
    figures: list[Figure]
    costs: list[Costs]


def report(effort: Effort, found: Sequence[Findings]) -> Report:
    return Report(
        effort,
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        platform.python_version(),
        {name: version(name) for name in _PACKAGES},
        [figure for findings in found for figure in findings.figures],
        [costs for findings in found for costs in findings.costs],
    )


def write_json(report: Report, path: Path) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report)))


def show(report: Report, console: Console) -> None:
    """What each contender took, then the figures that must hold."""
    console.print(_costs_table(report.costs), _figures_table(report.figures))
    versions = ", ".join(f"{name} {number}" for name, number in report.versions.items())
    console.print(f"{report.machine}, Python {report.python}: {versions}")
    console.print(f"Medians of {report.effort.rounds} rounds at scale {report.effort.scale:g}.")


def _figures_table(figures: Sequence[Figure]) -> Table:
    table = Table("scene", "figure", title="Figures")
    for name in ("median", "least", "most", "must be", "met"):
        table.add_column(name, justify="right")
    for figure in figures:
        spread = (figure.median, min(figure.values), max(figure.values))
        numbers = [f"{value:,.{_digits(value)}f}" for value in spread]
        met = "" if not figure.must_be else "yes" if figure.is_met else "[bold red]NO[/]"
        table.add_row(figure.scene, figure.what, *numbers, figure.must_be, met)
    return table


def _costs_table(all_costs: Sequence[Costs]) -> Table:
    table = Table("scene", "setting", "contender", title="Costs, medians (least to most)")
    for name in ("wall s", "CPU s", "rows/s", "API requests", "refused", "peak MB", "origin CPU s"):
        table.add_column(name, justify="right")
    for costs in all_costs:
        setting = costs.setting
        where = f"{setting.runs} x {setting.rows}, {setting.latency * 1000:.0f} ms"
        for name, samples in costs.samples.items():
            table.add_row(costs.scene, where, name, *_cells(samples))
        table.add_section()
    return table


def _cells(samples: Sequence[Sample]) -> list[str]:
    walls = [sample.cost.wall for sample in samples]
    rates = [sample.cost.rows / sample.cost.wall for sample in samples]
    return [
        _spread(walls),
        _spread([sample.cost.cpu for sample in samples]),
        f"{statistics.median(rates):,.0f}",
        f"{statistics.median(sample.traffic.api for sample in samples):,.0f}",
        f"{statistics.median(sample.traffic.refused for sample in samples):,.0f}",
        f"{statistics.median(sample.cost.peak_memory for sample in samples) / 1e6:,.0f}",
        f"{statistics.median(sample.traffic.cpu for sample in samples):.2f}",
    ]


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def _digits(value: float) -> int:
    return 0 if abs(value) >= 1000 else 1 if abs(value) >= 10 else 3
