"""The facts of a run, from its record at W&B and the config of W&B's client."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from aiowandb.ingest.mark import Mark, read_mark, without_mark
from aiowandb.ingest.source import RunFacts
from aiowandb.wire.json_edit import readable_object
from aiowandb.wire.lenient import parse_time
from aiowandb.wire.record import RunRecord

_CONFIG_LEVELS = 2
# Copied runs in W&B's cloud end in these states, whatever the original state was.
_UNSAYABLE = frozenset({"crashed", "killed"})


def facts_of(record: RunRecord) -> RunFacts:
    """The facts of a run at W&B; those of a copy have the values of the original in its mark.

    A config that is no JSON is no error yet, but when the run is written: it fails alone then.
    """
    config = record.config_json or "{}"
    mark, machine = read_mark(config), machine_of(config)
    return RunFacts(
        id=record.id,
        name=record.name,
        config=without_mark(config),
        summary=record.summary_json or "{}",
        state=_state(record.state, mark),
        tags=tuple(record.tags),
        notes=record.notes,
        description=record.description,
        group=record.group,
        job_type=record.job_type,
        commit=record.commit,
        host=machine.get("host"),
        program=machine.get("program"),
        sweep=record.sweep_name,
        created_at=_first_created(mark) or record.created_at,
        heartbeat_at=record.heartbeat_at,
        username=(mark and mark.user) or record.username,
    )


def dotted_keys(summary: str | None) -> frozenset[str]:
    """The keys with literal dots, which the summary distinguishes from nested keys."""
    return frozenset(key for key in readable_object(summary) if "." in key)


def machine_of(config: str) -> dict[str, Any]:
    """The facts about the machine in W&B's part of the config: texts by name."""
    own: Any = readable_object(config, _CONFIG_LEVELS).get("_wandb")
    try:
        machines = own["value"]["e"].values()
        found = next((each for each in machines if isinstance(each, dict)), {})
    except (KeyError, TypeError, AttributeError):
        return {}
    return {key: value for key, value in found.items() if isinstance(value, str)}


def _state(state: str | None, mark: Mark | None) -> str | None:
    if mark and mark.complete and state == "failed" and mark.state in _UNSAYABLE:
        return mark.state
    return state


def moment(seconds: float) -> datetime | None:
    """The time this long after 1970; None if no calendar has it, as in a damaged file."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return None


def _first_created(mark: Mark | None) -> datetime | None:
    return parse_time(mark.created_at) if mark else None
