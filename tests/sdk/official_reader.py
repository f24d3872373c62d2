"""Reads a whole project with the official `wandb.Api()` and prints it as JSON lines.

Runs in a process of its own: the official client keeps one service process a process.
"""

from __future__ import annotations

import json
import sys

import wandb


def main(project: str, keys: list[str]) -> None:
    api = wandb.Api()
    runs = api.runs(project, order="+created_at", per_page=7)
    print(json.dumps([len(runs), [run.id for run in runs[2:5]]]))
    for listed in runs:
        run = api.run("/".join(listed.path))
        attributes = (
            "id name state tags group job_type notes commit path url rawconfig config"
            " system_metrics lastHistoryStep username storage_id sweep_name"
        )
        told = {name: getattr(run, name) for name in attributes.split()}
        told["summary"] = run.summary._json_dict
        told["history"] = run.history(samples=10, pandas=False)
        told["history_keys"] = run.history(samples=10, keys=keys[:1], pandas=False)
        told["system"] = run.history(samples=5, stream="system", pandas=False)
        told["scan"] = list(run.scan_history())
        told["scan_keys"] = list(run.scan_history(keys=keys))
        told["scan_part"] = [row["_step"] for row in run.scan_history(min_step=3, max_step=40)]
        print(json.dumps(told))


main(sys.argv[1], sys.argv[2:])
