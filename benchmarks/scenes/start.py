"""How soon the first row of a long history is there."""

from __future__ import annotations

from benchmarks.figures import Costs, Effort, Figure, Findings
from benchmarks.rounds import Contender, Sample, Setting, race
from benchmarks.scenes.exports import LATENCY

_OURS = Contender("aiowandb, first row", "ours", "first_row")
_PAGE = Contender("one page", "page", "first_page")
# Two, and a quarter of one for what the client itself does.
_ROUND_TRIPS = 2.25


def first_row(effort: Effort) -> Findings:
    """One run of 1,000,000 rows: two round trips and the time of one page.

    A page is 1,000 rows of JSON, or one row group of Parquet of which 1,000 rows are made.
    """
    figures, costs = [], []
    for live, form in ((False, "Parquet"), (True, "JSON")):
        setting = Setting(1, effort.of(1_000_000), live, LATENCY)
        samples = race(setting, (_OURS, _PAGE), effort.rounds)
        pairs = zip(samples[_OURS.name], samples[_PAGE.name], strict=True)
        # The page took one round trip itself.
        trips = [1 + (_seconds(ours) - _seconds(page)) / LATENCY for ours, page in pairs]
        what = f"round trips to the first row, beside one page, {form}"
        figures.append(Figure("c", what, trips, at_most=_ROUND_TRIPS))
        costs.append(Costs("c", setting, samples))
    return Findings(figures, costs)


def _seconds(sample: Sample) -> float:
    assert sample.cost.first_row is not None
    return sample.cost.first_row
