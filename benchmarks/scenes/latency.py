"""How the speed of an export falls with the distance to the server; what the plot shows."""

from __future__ import annotations

from benchmarks.figures import Costs, Effort, Findings
from benchmarks.rounds import Setting, race
from benchmarks.scenes.exports import CLIENTS

_LATENCIES = (0.0, 0.02, 0.05, 0.1, 0.2)


def sweep(effort: Effort) -> Findings:
    """40 runs of 5,000 rows in Parquet; no figure, one plot."""
    setting = Setting(effort.of(40), 5000)
    costs = [
        Costs("latency", setting.at(latency), race(setting.at(latency), CLIENTS, effort.rounds))
        for latency in _LATENCIES
    ]
    return Findings([], costs)
