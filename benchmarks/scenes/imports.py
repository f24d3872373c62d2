"""What `import aiowandb` costs, beside `import wandb`."""

from __future__ import annotations

import subprocess
import sys

from benchmarks.figures import Effort, Figure, Findings

_COST = "import time; t = time.process_time(); import {}; print(time.process_time() - t)"


def beside_wandb(effort: Effort) -> Findings:
    """Of both in turn; the client and Arrow come when they are first used, and are in it too."""
    light, whole = [], []
    for _ in range(effort.rounds):
        theirs = _cpu("wandb")
        light.append(_cpu("aiowandb") / theirs)
        whole.append(_cpu("aiowandb.api, aiowandb.export") / theirs)
    figures = [
        Figure("g", "CPU, import aiowandb / import wandb", light, at_most=0.25),
        Figure("g", "CPU, all that an export imports / import wandb", whole),
    ]
    return Findings(figures)


def _cpu(modules: str) -> float:
    code = _COST.format(modules)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)
