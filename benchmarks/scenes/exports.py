"""Finished runs to files: from Parquet, from JSON, under a rate limit, and in how many requests."""

from __future__ import annotations

from benchmarks.figures import Costs, Effort, Figure, Findings, ratios
from benchmarks.rounds import Contender, Samples, Setting, race

LATENCY = 0.05

OURS = Contender("aiowandb", "ours", "export")
OFFICIAL = Contender("wandb.Api", "official", "export")
POOLED = Contender("wandb.Api, 16 threads", "official", "export_pooled")
EXPORTER = Contender("wandb-export", "exporter", "export")
FLOOR = Contender("floor", "floor", "export")
CLIENTS = (OURS, OFFICIAL, POOLED, EXPORTER)


def parquet(effort: Effort) -> Findings:
    """200 finished runs of 5,000 rows whose history lies in Parquet."""
    return _full_size("a", effort, live=False, faster=50, cheaper=12, above_floor=1.5)


def parquet_over_tls(effort: Effort) -> Findings:
    """The same over TLS: what the encryption adds."""
    setting = Setting(effort.of(200), 5000, tls=True)
    costs = _costs("a-tls", setting, (OURS, FLOOR), effort)
    cpu = ratios(costs.samples, "cpu", OURS.name, FLOOR.name)
    return Findings([Figure("a-tls", "CPU, aiowandb / floor, 0 ms, TLS", cpu, at_most=2)], [costs])


def json(effort: Effort) -> Findings:
    """The same as pages of JSON, without TLS."""
    return _full_size("b", effort, live=True, faster=30, cheaper=5, above_floor=1.5)


def limited(effort: Effort) -> Findings:
    """1,000 finished runs of 500 rows, of a server that allows 20 API requests a second."""
    setting = Setting(effort.of(1000), 500, latency=LATENCY, rate_limit=20)
    costs = _costs("e", setting, (OURS, OFFICIAL, POOLED), effort)
    figures = [
        Figure(
            "e",
            f"wall, {official.name} / aiowandb, 50 ms",
            ratios(costs.samples, "wall", official.name, OURS.name),
            at_least=limit,
        )
        for official, limit in ((OFFICIAL, 40), (POOLED, None))
    ]
    return Findings(figures, [costs])


def requests(effort: Effort) -> Findings:
    """API requests that the server has counted for 1,000 runs."""
    figures, all_costs = [], []
    for rows, live, limit in ((5000, False, 45), (500, True, 130)):
        costs = _costs("requests", Setting(effort.of(1000), rows, live), (OURS,), effort)
        counted = [float(sample.traffic.api) for sample in costs.samples[OURS.name]]
        what = f"API requests, {rows} rows a run in {'JSON' if live else 'Parquet'}"
        figures.append(Figure("requests", what, counted, at_most=limit))
        all_costs.append(costs)
    return Findings(figures, all_costs)


def _full_size(
    scene: str, effort: Effort, *, live: bool, faster: float, cheaper: float, above_floor: float
) -> Findings:
    setting = Setting(effort.of(200), 5000, live)
    near = _costs(scene, setting, (*CLIENTS, FLOOR), effort)
    far = _costs(scene, setting.at(LATENCY), CLIENTS, effort)
    figures = [
        Figure(
            scene,
            "wall, wandb.Api / aiowandb, 50 ms",
            ratios(far.samples, "wall", OFFICIAL.name, OURS.name),
            at_least=faster,
        ),
        Figure(
            scene,
            "CPU, wandb.Api / aiowandb, 0 ms",
            ratios(near.samples, "cpu", OFFICIAL.name, OURS.name),
            at_least=cheaper,
        ),
        Figure(
            scene,
            "CPU, aiowandb / floor, 0 ms",
            ratios(near.samples, "cpu", OURS.name, FLOOR.name),
            at_most=above_floor,
        ),
    ]
    return Findings(figures, [near, far])


def _costs(
    scene: str, setting: Setting, contenders: tuple[Contender, ...], effort: Effort
) -> Costs:
    samples = race(setting, contenders, effort.rounds)
    _check_files(samples, setting.runs * setting.rows)
    return Costs(scene, setting, samples)


def _check_files(samples: Samples, rows: int) -> None:
    """Nobody wins by writing less, or something else."""
    ours = samples[OURS.name][0].written
    for name, found in samples.items():
        for sample in found:
            if sample.written.rows != rows or not sample.written.agrees(ours):
                raise RuntimeError(
                    f"{name} wrote {sample.written} instead of {rows:,} rows, {ours}"
                )
