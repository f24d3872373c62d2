"""How long the event loop of an application is blocked while it exports many runs."""

from __future__ import annotations

from benchmarks.contenders.clock import Stall
from benchmarks.figures import Costs, Effort, Figure, Findings
from benchmarks.rounds import Contender, Sample, Setting, race

_TABLE = Contender("aiowandb, runs", "stalls", "export_runs")
_ALL = Contender("aiowandb, runs and histories", "stalls", "export_all")
# As much as a frame of an animation and a half: no user of an application sees that.
_MOST_MS = 50
_MORE_KEYS = 70


def of_the_loop(effort: Effort) -> Findings:
    """10,000 and 20,000 runs of 120 keys, their table alone or with histories of 5 rows."""
    figures, costs, peaks = [], [], []
    sizes = effort.of(10_000), effort.of(20_000)
    for runs in sizes:
        setting = Setting(runs, 5, keys=_MORE_KEYS)
        contenders = (_TABLE, _ALL) if runs == sizes[0] else (_TABLE,)
        samples = race(setting, contenders, effort.rounds)
        costs.append(Costs("stall", setting, samples))
        peaks.append([sample.cost.peak_memory for sample in samples[_TABLE.name]])
        for contender in contenders:
            stalls = [_stall(sample) for sample in samples[contender.name]]
            figures += _figures(f"{contender.name.partition(', ')[2]} of {runs}", stalls)
    once, twice = peaks
    more = max(1, sizes[1] - sizes[0])
    each = [(high - low) / more for low, high in zip(once, twice, strict=True)]
    figures.append(Figure("stall", "bytes of memory for each run more", each))
    return Findings(figures, costs)


def _figures(what: str, stalls: list[Stall]) -> list[Figure]:
    cpu = [1000 * stall.cpu for stall in stalls]
    wall = [1000 * stall.wall for stall in stalls]
    collector = [1000 * stall.collector for stall in stalls]
    return [
        Figure("stall", f"{what}: longest step of the loop, CPU ms", cpu, at_most=_MOST_MS),
        Figure("stall", f"{what}: garbage collections within one step, CPU ms", collector),
        Figure("stall", f"{what}: longest step with collections, wall ms", wall),
    ]


def _stall(sample: Sample) -> Stall:
    assert sample.cost.stall is not None
    return sample.cost.stall
