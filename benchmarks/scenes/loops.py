"""Runs one after another, and the rows of each: what people write who know nothing of exports."""

from __future__ import annotations

from benchmarks.figures import Costs, Effort, Figure, Findings, ratios
from benchmarks.rounds import Contender, Samples, Setting, race
from benchmarks.scenes.exports import LATENCY

_ASYNC = Contender("aiowandb, AsyncApi", "ours", "iterate_rows")
_SYNC = Contender("aiowandb, Api", "ours", "iterate_rows_blocking")
_OFFICIAL = Contender("wandb.Api", "official", "iterate_rows")
_SAMPLES = Contender("aiowandb, histories()", "ours", "sample_rows")
_ROWS = 500
_MOST_REQUESTS = 60


def of_runs(effort: Effort) -> Findings:
    """100 runs of 500 rows in a loop, 50 ms away; then the requests for 1,000 such runs."""
    figures, costs = [], []
    for live, form in ((False, "Parquet"), (True, "JSON")):
        setting = Setting(effort.of(100), _ROWS, live, LATENCY)
        samples = race(setting, (_ASYNC, _SYNC, _OFFICIAL), effort.rounds)
        _check_rows(samples, setting)
        costs.append(Costs("n", setting, samples))
        for ours in (_ASYNC, _SYNC):
            what = f"wall, wandb.Api / {ours.name.split()[-1]}, 50 ms, {form}"
            faster = ratios(samples, "wall", _OFFICIAL.name, ours.name)
            figures.append(Figure("n", what, faster, at_least=10))
    for live, form in ((False, "Parquet"), (True, "JSON")):
        setting = Setting(effort.of(1000), _ROWS, live)
        samples = race(setting, (_ASYNC, _SAMPLES), effort.rounds)
        _check_rows(samples, setting)
        costs.append(Costs("n", setting, samples))
        for name, found in samples.items():
            counted = [float(sample.traffic.api) for sample in found]
            call = "in a loop" if name == _ASYNC.name else "by histories()"
            what = f"API requests for 1,000 runs {call}, {form}"
            figures.append(Figure("n", what, counted, at_most=_MOST_REQUESTS))
    return Findings(figures, costs)


def _check_rows(samples: Samples, setting: Setting) -> None:
    """Nobody wins by reading less."""
    for name, found in samples.items():
        for sample in found:
            if sample.cost.rows != setting.runs * setting.rows:
                raise RuntimeError(f"{name} read {sample.cost.rows:,} rows")
