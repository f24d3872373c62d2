"""What a user changed of a run, held against what W&B has by now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from aiowandb.wire import lenient
from aiowandb.wire.record import RunRecord

# The fields of a run that `update()` sends, by their names in W&B's input.
FIELDS = {
    "name": "displayName",
    "tags": "tags",
    "notes": "notes",
    "description": "description",
    "group": "groupName",
    "job_type": "jobType",
}


class Difference(msgspec.Struct, frozen=True):
    """What makes one mapping of another: keys to set and keys to remove."""

    values: dict[str, Any]
    removed: frozenset[str]

    @classmethod
    def between(cls, before: Mapping[str, Any], after: Mapping[str, Any]) -> Difference:
        values = {
            key: value
            for key, value in after.items()
            if key not in before or not alike(before[key], value)
        }
        return cls(values, frozenset(before.keys() - after.keys()))

    def __bool__(self) -> bool:
        return bool(self.values or self.removed)

    def applied(self, onto: Mapping[str, Any]) -> dict[str, Any]:
        kept = {key: value for key, value in onto.items() if key not in self.removed}
        return kept | self.values


class RunChanges(msgspec.Struct, frozen=True):
    """What differs between a run as it was read and as its user wants it."""

    fields: dict[str, Any]
    config: Difference
    summary: Difference

    @classmethod
    def of(cls, read: RunRecord, wanted: RunRecord) -> RunChanges:
        fields = {
            name: value
            for name in FIELDS
            if not alike(getattr(read, name), value := getattr(wanted, name))
        }
        # What nobody has looked at is as it was read, or was never asked for.
        seen = vars(wanted)
        none = Difference({}, frozenset())
        return cls(
            fields,
            Difference.between(read.config, wanted.config) if "config" in seen else none,
            Difference.between(dict(read.summary), dict(wanted.summary))
            if "summary" in seen
            else none,
        )

    def __bool__(self) -> bool:
        return bool(self.fields or self.config or self.summary)

    def conflicts(self, read: RunRecord, current: RunRecord) -> list[str]:
        """What is to be written and has been changed at W&B since it was read."""
        moved = [n for n in self.fields if not alike(getattr(read, n), getattr(current, n))]
        if self.config and not alike(read.config, current.config):
            moved.append("config")
        if self.summary and not alike(dict(read.summary), dict(current.summary)):
            moved.append("summary")
        return moved

    def input(self, current: RunRecord) -> dict[str, Any]:
        """The input of W&B's mutation: what changed, laid over what W&B has now."""
        sent: dict[str, Any] = {"id": current.storage_id}
        sent |= {FIELDS[name]: value for name, value in self.fields.items()}
        if self.config:
            sent["config"] = lenient.dumps(self._raw_config(current.raw_config))
        if self.summary:
            sent["summaryMetrics"] = lenient.dumps(self.summary.applied(current.summary))
        return sent

    def _raw_config(self, current: Mapping[str, Any]) -> dict[str, Any]:
        # W&B replaces the whole config, its own part included.
        wrapped = {key: {"value": value, "desc": None} for key, value in self.config.values.items()}
        return Difference(wrapped, self.config.removed).applied(current)


def alike(one: Any, other: Any) -> bool:
    """Equality that holds for NaN, whatever the order of keys, and tells 1 from True."""
    return one is other or _canonical(one) == _canonical(other)


def _canonical(value: Any) -> str:
    return lenient.dumps(value, sort_keys=True)
