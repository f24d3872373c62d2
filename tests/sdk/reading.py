"""Everything that a client returns about the runs of a project, with the same code for both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Facts = dict[str, Any]
ATTRIBUTES = (
    "id name display_name state tags group job_type notes commit path url rawconfig config"
    " system_metrics lastHistoryStep username storage_id sweep_name"
)


def read_project(api: Any, project: str, keys: Sequence[str]) -> list[Any]:
    runs = api.runs(project, order="+created_at", per_page=7)
    first = [len(runs), [run.id for run in runs[2:5]]]
    return [first, *(read_run(api.run("/".join(run.path)), keys) for run in runs)]


def read_run(run: Any, keys: Sequence[str]) -> Facts:
    reported = {name: getattr(run, name) for name in ATTRIBUTES.split()}
    return reported | {
        "summary": run.summary._json_dict,
        "history": run.history(samples=10, pandas=False),
        "history_keys": run.history(samples=10, keys=keys[:1], pandas=False),
        "system": run.history(samples=5, stream="system", pandas=False),
        "scan": list(run.scan_history()),
        "scan_keys": list(run.scan_history(keys=keys)),
        "scan_part": [row["_step"] for row in run.scan_history(min_step=3, max_step=40)],
    }
