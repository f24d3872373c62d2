"""The memory of an export and of an iteration, for projects of different sizes."""

from __future__ import annotations

from benchmarks.figures import Costs, Effort, Figure, Findings
from benchmarks.rounds import Contender, Sample, Setting, race

_EXPORT = Contender("aiowandb, export", "ours", "export")
_ITERATE = Contender("aiowandb, iterate", "ours", "iterate_batches")
_MB = 1e6
_MOST_MB = 350


def ten_times_the_data(effort: Effort) -> Findings:
    """200 and 2,000 runs of 5,000 rows exported; 5 and 50 of 1,000,000 iterated."""
    figures, costs = [], []
    for contender, runs, rows in (
        (_EXPORT, effort.of(200), 5000),
        (_ITERATE, 5, effort.of(1_000_000)),
    ):
        peaks = []
        for setting in (Setting(runs, rows), Setting(10 * runs, rows)):
            samples = race(setting, (contender,), effort.rounds)
            costs.append(Costs("f", setting, samples))
            peaks.append([_peak(sample) for sample in samples[contender.name]])
        once, tenfold = peaks
        growth = [high / low for low, high in zip(once, tenfold, strict=True)]
        what = f"peak memory, {contender.name.split()[-1]}"
        figures.append(Figure("f", f"{what}, at 10x / at 1x", growth, at_most=1.15))
        figures.append(Figure("f", f"{what}, MB at 10x", tenfold, at_most=_MOST_MB))
    return Findings(figures, costs)


def _peak(sample: Sample) -> float:
    return sample.cost.peak_memory / _MB
