"""A read plan of a large project: what it takes of W&B's requests, memory and CPU."""

from __future__ import annotations

from benchmarks.figures import Costs, Effort, Figure, Findings
from benchmarks.rounds import Contender, Setting, race

_PLAN = Contender("aiowandb, plan", "ours", "plan_and_cut")
_STREAM = Contender("aiowandb, parts as they come", "ours", "stream_parts")
_READ = Contender("aiowandb, parts read by one process", "ours", "read_parts")
_MB = 1e6


def large_project(effort: Effort) -> Findings:
    """100,000 finished runs of 1,000 rows."""
    setting = Setting(effort.of(100_000), 1_000)
    samples = race(setting, (_PLAN, _STREAM), effort.rounds)
    plans, streams = samples[_PLAN.name], samples[_STREAM.name]
    requests = [float(sample.traffic.api) for sample in plans]
    memory = [sample.cost.peak_memory / _MB for sample in plans]
    cutting = [sample.cost.first_row or 0.0 for sample in plans]
    first = [(sample.cost.first_row or 0.0) / sample.cost.wall for sample in streams]
    return Findings(
        [
            Figure("plan", "API requests", requests, at_most=1_200),
            Figure("plan", "peak memory, MB", memory, at_most=1_000),
            Figure("plan", "CPU to cut 1,000 parts, s", cutting, at_most=5),
            Figure("plan", "first part / all parts, wall", first, at_most=0.5),
        ],
        [Costs("plan", setting, samples)],
    )


def rows_of_a_plan(effort: Effort) -> Findings:
    """20 runs of 100,000 rows of 20 keys, read part by part."""
    setting = Setting(effort.of(20), 100_000)
    samples = race(setting, (_READ,), effort.rounds)
    rows = setting.runs * setting.rows
    cpu = [sample.cost.cpu / rows * 1e6 for sample in samples[_READ.name]]
    sizes = [sample.traffic.bytes / rows for sample in samples[_READ.name]]
    return Findings(
        [
            Figure("read", "CPU per million rows, s", cpu, at_most=4),
            Figure("read", "bytes per row", sizes, at_most=200),
        ],
        [Costs("read", setting, samples)],
    )
