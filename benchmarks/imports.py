"""What `import aiowandb` costs, beside `import wandb`."""

from __future__ import annotations

import subprocess
import sys

NAME = "import"
_COST = "import time; t = time.process_time(); import {}; print(time.process_time() - t)"


def measure(rounds: int) -> dict[str, list[float]]:
    """CPU seconds of both, in turn, and their ratio round by round."""
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(_cpu("aiowandb"))
        theirs.append(_cpu("wandb"))
    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
    return {"aiowandb, CPU s": ours, "wandb, CPU s": theirs, "aiowandb / wandb": ratios}


def _cpu(package: str) -> float:
    code = _COST.format(package)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)
