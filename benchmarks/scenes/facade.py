"""What the sync facade adds to the async classes."""

from __future__ import annotations

from benchmarks.figures import Costs, Effort, Figure, Findings, ratios
from benchmarks.rounds import Contender, Setting, race

_ASYNC = Contender("AsyncApi", "ours", "iterate_rows")
_SYNC = Contender("Api", "ours", "iterate_rows_blocking")


def beside_async(effort: Effort) -> Findings:
    """100,000 rows, one by one."""
    setting = Setting(effort.of(20), 5000)
    samples = race(setting, (_ASYNC, _SYNC), effort.rounds)
    cpu = ratios(samples, "cpu", _SYNC.name, _ASYNC.name)
    figure = Figure("h", "CPU, Api / AsyncApi", cpu, at_most=1.3)
    return Findings([figure], [Costs("h", setting, samples)])
