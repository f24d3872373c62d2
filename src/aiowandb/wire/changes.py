"""The changes that a user made to a run, compared with what W&B has now."""

from __future__ import annotations

from typing import Any

import msgspec

from aiowandb.wire.json_edit import NOTHING, alike, changed_object, members, rewritten
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


class Edit(msgspec.Struct, frozen=True):
    """A mapping before and after the user changed it."""

    before: dict[str, Any] = {}
    after: dict[str, Any] = {}

    def __bool__(self) -> bool:
        return not alike(self.before, self.after)


class RunDiff(msgspec.Struct, frozen=True):
    """The differences between a run as it was read and as the user wants it."""

    fields: dict[str, Any]
    config: Edit
    summary: Edit

    @classmethod
    def of(cls, read: RunRecord, wanted: RunRecord) -> RunDiff:
        fields = {
            name: value
            for name in FIELDS
            if not alike(getattr(read, name), value := getattr(wanted, name))
        }
        # What was never decoded is unchanged.
        config = summary = Edit()
        if wanted.has_decoded("config"):
            config = Edit(read.config, wanted.config)
        if wanted.has_decoded("summary"):
            summary = Edit(dict(read.summary), dict(wanted.summary))
        return cls(fields, config, summary)

    def __bool__(self) -> bool:
        return bool(self.fields or self.config or self.summary)

    def conflicts(self, read: RunRecord, current: RunRecord) -> list[str]:
        """What the user changed and what has also changed at W&B since it was read."""
        moved = [n for n in self.fields if not alike(getattr(read, n), getattr(current, n))]
        if self.config and not alike(read.config, current.config):
            moved.append("config")
        if self.summary and not alike(dict(read.summary), dict(current.summary)):
            moved.append("summary")
        return moved

    def input(self, current: RunRecord) -> dict[str, Any]:
        """The input of W&B's mutation: the changes, applied to what W&B has now.

        W&B replaces config and summary completely, its own part of the config included. What
        was not changed is sent back as the same text.
        """
        sent: dict[str, Any] = {"id": current.storage_id}
        sent |= {FIELDS[name]: value for name, value in self.fields.items()}
        if config := self.config:
            sent["config"] = changed_object(
                current.config_json or None, config.before, config.after, _rewritten_config_value
            )
        if summary := self.summary:
            sent["summaryMetrics"] = changed_object(
                current.summary_json or None, summary.before, summary.after
            )
        return sent


def _rewritten_config_value(text: str | None, before: Any, after: Any) -> str:
    """The value in the object that W&B wraps each value of a config in."""
    wrapper = members(text) if text is not None else None
    if any(member.key == "value" for member in wrapper or ()):
        read = {} if before is NOTHING else {"value": before}
        return changed_object(text, read, {"value": after})
    return f'{{"value":{rewritten(text, before, after)},"desc":null}}'
