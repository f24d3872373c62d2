"""A run as W&B sends it, with the attribute names of the W&B Python API."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import cached_property
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from aiowandb.choices import RunField
from aiowandb.errors import ServerError, UsageError
from aiowandb.paths import RunRef
from aiowandb.wire.json_edit import read_object
from aiowandb.wire.lenient import Int64, as_utc
from aiowandb.wire.summary import Summary

GRAPHQL_NAMES: Mapping[RunField, str] = {
    "config": "config",
    "summary": "summaryMetrics",
    "system": "systemMetrics",
    "history_keys": "historyKeys",
}
ALL_FIELDS = frozenset(GRAPHQL_NAMES)
# Each value of a config is wrapped in an object.
_CONFIG_LEVELS = 2


# Long lists have many of these. They cannot be part of a cycle, so the garbage collector need
# not track them.
class User(msgspec.Struct, frozen=True, gc=False):
    """Who made a run."""

    name: str | None = None
    username: str | None = None


class TypeCount(msgspec.Struct, frozen=True, gc=False):
    """The number of values of one type that a history key has."""

    type: str
    count: Int64 = 0


class KeyInfo(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """What W&B knows about one history key.

    `previous_value` is the last number under it, and `monotonic` whether these never fell; W&B may
    leave them out.
    """

    type_counts: list[TypeCount] = []
    previous_value: Any = None
    monotonic: Any = None

    @property
    def types(self) -> frozenset[str]:
        """The types of its values, except None."""
        return frozenset(counted.type for counted in self.type_counts) - {"nil", "null"}

    @property
    def count(self) -> int:
        """The number of its values, except None."""
        return sum(c.count for c in self.type_counts if c.type not in ("nil", "null"))

    @property
    def has_text(self) -> bool:
        """Whether some of its values are strings."""
        return "string" in self.types


class HistoryKeys(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """The keys of a run's history, nested ones flattened with dots, and its last step."""

    last_step: int = -1
    keys: dict[str, KeyInfo] = {}

    @property
    def text_keys(self) -> list[str]:
        """The keys with values that are strings."""
        return [key for key, info in self.keys.items() if info.has_text]


class RunRecord(msgspec.Struct, kw_only=True, dict=True, eq=False, rename="camel"):
    """A run. The attribute names are those of the W&B Python API.

    `id` is the short id in the run's URL, `name` the display name, `storage_id` the opaque id
    that W&B uses internally.
    """

    storage_id: str = msgspec.field(name="id")
    id: str = msgspec.field(name="name")
    name: str | None = msgspec.field(name="displayName", default=None)
    state: str | None = None
    tags: list[str] = []
    group: str | None = None
    job_type: str | None = None
    commit: str | None = None
    read_only: bool | None = None
    notes: str | None = None
    description: str | None = None
    created_at: datetime | None = None
    heartbeat_at: datetime | None = None
    sweep_name: str | None = None
    history_line_count: Int64 | None = None
    # Only exports ask for these counts.
    events_line_count: Int64 | None = None
    log_line_count: Int64 | None = None
    file_count: Int64 | None = None
    # Of the list, only its `totalCount`.
    counted_artifacts: dict[str, Int64 | None] | None = None
    user: User | None = None
    history_keys: HistoryKeys | None = None
    config_json: str | UnsetType | None = msgspec.field(name="config", default=UNSET)
    summary_json: str | UnsetType | None = msgspec.field(name="summaryMetrics", default=UNSET)
    system_json: str | UnsetType | None = msgspec.field(name="systemMetrics", default=UNSET)
    # Not in the response: the caller fills them in.
    entity: str = ""
    project: str = ""

    def __post_init__(self) -> None:
        self.created_at = as_utc(self.created_at)
        self.heartbeat_at = as_utc(self.heartbeat_at)

    def has_decoded(self, name: str) -> bool:
        """Whether the config or the summary was accessed, and may have been changed."""
        return name in self.__dict__

    @property
    def ref(self) -> RunRef:
        return RunRef(self.entity, self.project, self.id)

    @property
    def path(self) -> list[str]:
        """Entity, project and id; `api.run()` takes it."""
        return [self.entity, self.project, self.id]

    @property
    def display_name(self) -> str | None:
        """The same as `name`."""
        return self.name

    @display_name.setter
    def display_name(self, name: str | None) -> None:
        self.name = name

    @property
    def raw_config(self) -> dict[str, Any]:
        """The config as W&B stores it: each value wrapped, W&B's own keys included."""
        return self._members(self.config_json, "config", _CONFIG_LEVELS)

    @cached_property
    def config(self) -> dict[str, Any]:
        """The config of the script. Changes are sent by `update()`."""
        return unwrapped(self.raw_config)

    @cached_property
    def summary(self) -> Summary[None]:
        """The last, best or chosen value of each metric; NaN and Infinity are floats.

        Changes are sent by `update()`.
        """
        return Summary(self._members(self.summary_json, "summary"))

    @cached_property
    def system_metrics(self) -> dict[str, Any]:
        """The latest system metrics."""
        return self._members(self.system_json, "system")

    @property
    def last_step(self) -> int:
        """The last step of the history, or -1 if there is none."""
        # Whatever W&B says, no table has larger numbers.
        return min(self.history_keys.last_step, 2**63 - 1) if self.history_keys else -1

    @property
    def rawconfig(self) -> dict[str, Any]:
        """The config with W&B's own keys, without the wrappers around its values."""
        return _bare(self.raw_config)

    @property
    def json_config(self) -> str:
        """The config as JSON text, as it is stored."""
        return _loaded(self.config_json, "config") or "{}"

    @property
    def summary_metrics(self) -> dict[str, Any]:
        """The summary as a plain dict."""
        return self.summary._json_dict

    @property
    def lastHistoryStep(self) -> int:  # noqa: N802
        """The same as `last_step`."""
        return self.last_step

    @property
    def createdAt(self) -> datetime | None:  # noqa: N802
        """The same as `created_at`."""
        return self.created_at

    @property
    def heartbeatAt(self) -> datetime | None:  # noqa: N802
        """The same as `heartbeat_at`."""
        return self.heartbeat_at

    @property
    def username(self) -> str | None:
        """The name of the user who made the run."""
        return self.user.username if self.user else None

    def _members(
        self, text: str | UnsetType | None, field: RunField, levels: int = 1
    ) -> dict[str, Any]:
        try:
            return read_object(_loaded(text, field), levels)
        except ServerError as error:
            raise ServerError(f"Run {self.id}, {field}: {error}", error) from error

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.ref} ({self.state})>"


def unwrapped(raw_config: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a stored config, without W&B's own keys."""
    own = ("_wandb", "wandb_version")
    return _bare({key: value for key, value in raw_config.items() if key not in own})


def _bare(raw_config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: value["value"] if isinstance(value, dict) and "value" in value else value
        for key, value in raw_config.items()
    }


def _loaded(text: str | UnsetType | None, field: RunField) -> str | None:
    if text is UNSET:
        raise UsageError(f"This run was listed without its {field}: add {field!r} to include=.")
    return text or None
