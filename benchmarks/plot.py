"""The picture of the latency scene: rows a second against the distance to the server."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.figures import Costs


def write_plot(all_costs: Sequence[Costs], path: Path) -> None:
    """One line a client, with the spread of its rounds."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for name in all_costs[0].samples:
        latencies = [costs.setting.latency * 1000 for costs in all_costs]
        rates = [
            [sample.cost.rows / sample.cost.wall for sample in costs.samples[name]]
            for costs in all_costs
        ]
        axes.plot(latencies, [statistics.median(r) for r in rates], marker="o", label=name)
        axes.fill_between(latencies, [min(r) for r in rates], [max(r) for r in rates], alpha=0.2)
    setting = all_costs[0].setting
    axes.set_yscale("log")
    axes.set_xlabel("latency of each request, ms")
    axes.set_ylabel("rows a second")
    axes.set_title(f"Exporting {setting.runs} runs of {setting.rows:,} rows x 20 keys")
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)
