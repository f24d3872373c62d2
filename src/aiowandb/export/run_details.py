"""What the table of runs has besides a run's own fields, its config and its summary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from aiowandb.wire.dotted import flattened
from aiowandb.wire.record import RunRecord

DETAIL_TYPES: dict[str, pa.DataType] = {
    "description": pa.string(),
    "user_name": pa.string(),
    "storage_id": pa.string(),
    "last_step": pa.int64(),
    "history_rows": pa.int64(),
    "system_rows": pa.int64(),
    "log_lines": pa.int64(),
    "file_count": pa.int64(),
}
_SYSTEM, _WANDB = "system.", "wandb."
# Of W&B's own entry of the config: these, and what it says of the machine.
_OWN = ("cli_version", "python_version", "code_path")


def details_of(run: RunRecord) -> dict[str, Any]:
    """The counts and facts of a run, its last system metrics, and what W&B's client noted.

    The columns of the last two are called `system.*` and `wandb.*`.
    """
    details: dict[str, Any] = {
        "description": run.description,
        "user_name": run.user.name if run.user else None,
        "storage_id": run.storage_id,
        "last_step": run.last_step if run.last_step >= 0 else None,
        "history_rows": run.history_line_count,
        "system_rows": run.events_line_count,
        "log_lines": run.log_line_count,
        "file_count": run.file_count,
    }
    own = run.raw_config.get("_wandb")
    own = own.get("value", own) if isinstance(own, dict) else None
    if isinstance(own, dict):
        details |= flattened({key: own[key] for key in _OWN if key in own}, _WANDB)
        details |= flattened(_machine(own.get("e")), _WANDB)
    if isinstance(run.system_json, str):
        for name, value in flattened(run.system_metrics).items():
            details[name if name.startswith(_SYSTEM) else f"{_SYSTEM}{name}"] = value
    return details


def _machine(writers: Any) -> Mapping[str, Any]:
    """What is known of the machine; of several writers of a run, the first one's."""
    machines = writers.values() if isinstance(writers, dict) else ()
    return next((machine for machine in machines if isinstance(machine, dict)), {})
