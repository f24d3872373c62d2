"""Runs with config and summary to one CSV file."""

from __future__ import annotations

from benchmarks.figures import Costs, Effort, Figure, Findings, ratios
from benchmarks.rounds import Contender, Setting, race
from benchmarks.scenes.exports import LATENCY

_OURS = Contender("aiowandb", "ours", "list_to_csv")
_OFFICIAL = Contender("wandb.Api(lazy=False)", "official", "list_to_csv")


def to_csv(effort: Effort) -> Findings:
    """10,000 runs."""
    near = Setting(effort.of(10_000), 5000)
    costs = [
        Costs("d", setting, race(setting, (_OURS, _OFFICIAL), effort.rounds))
        for setting in (near, near.at(LATENCY))
    ]
    cpu = ratios(costs[0].samples, "cpu", _OFFICIAL.name, _OURS.name)
    return Findings([Figure("d", "CPU, wandb.Api / aiowandb, 0 ms", cpu, at_least=5)], costs)
