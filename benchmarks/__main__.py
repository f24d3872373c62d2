"""`python -m benchmarks`: measure the scenes, print what was found, fail if a figure is missed."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console

from benchmarks.figures import Effort
from benchmarks.plot import write_plot
from benchmarks.report import report, show, write_json
from benchmarks.scenes import SCENES

_WIDTH = 160


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Compare aiowandb with its peers and with the floor.",
        epilog="scenes: " + " ".join(f"({name}) {_title(name)}" for name in SCENES),
    )
    parser.add_argument("scenes", nargs="*", metavar="SCENE", help="all, if none is named")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="smaller for a quick look")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all samples there")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write the latency scene as PNG")
    asked = parser.parse_args()
    if unknown := set(asked.scenes) - SCENES.keys():
        parser.error(f"no scene {', '.join(sorted(unknown))}; there are {', '.join(SCENES)}")

    console = Console(stderr=True)
    effort = Effort(asked.rounds, asked.scale)
    found = []
    for name in asked.scenes or SCENES:
        console.print(f"scene {name}: {_title(name)}")
        found.append(SCENES[name](effort))
    whole = report(effort, found)
    show(whole, Console(width=None if sys.stdout.isatty() else _WIDTH))
    if asked.json:
        write_json(whole, asked.json)
    latency = [costs for costs in whole.costs if costs.scene == "latency"]
    if asked.plot and latency:
        write_plot(latency, asked.plot)
    # A smaller job has other proportions: its figures say nothing.
    return int(effort.scale >= 1 and not all(figure.is_met for figure in whole.figures))


def _title(scene: str) -> str:
    return (SCENES[scene].__doc__ or "").splitlines()[0]


if __name__ == "__main__":
    sys.exit(main())
