"""What a filter or an order may ask of a run, and the SQL that answers it.

Columns are known in both spellings (`displayName`, `display_name`). `config.lr`,
`config.lr.value`, `config.model.depth` and `config.model.value.depth` all reach what the SDK
stores under `{"lr": {"value": ...}}`. A key that itself contains dots is found too, after the
nested reading of the same name.
"""

from __future__ import annotations

from dataclasses import dataclass

from aiowandb_server.store.conditions import Sql, value
from aiowandb_server.store.fields import Field, UnknownFieldError, column, moment


@dataclass(frozen=True, slots=True)
class StateRule:
    """When a silent run counts as crashed: `now` and `crash_after` in seconds."""

    now: float
    crash_after: float

    def sql(self) -> Sql:
        return Sql(
            "CASE WHEN run.state = 'running' AND run.heartbeat_at < ? "
            "THEN 'crashed' ELSE run.state END",
            (self.now - self.crash_after,),
        )


_COLUMNS = {
    "name": "run.name",
    "display_name": "run.display_name",
    "group": "run.group_name",
    "job_type": "run.job_type",
    "sweep": "run.sweep",
    "host": "run.host",
    "program": "run.program",
    "repo": "run.repo",
    "commit": "run.git_commit",
    "notes": "run.notes",
    "description": "run.description",
    "exit_code": "run.exit_code",
    "history_line_count": "run.history_lines",
    "username": "(SELECT username FROM user WHERE user.id = run.user_id)",
    "duration": "(run.heartbeat_at - run.created_at)",
}
_ALIASES = {
    "displayName": "display_name",
    "jobType": "job_type",
    "sweepName": "sweep",
    "user": "username",
    "exitcode": "exit_code",
    "historyLineCount": "history_line_count",
    "createdAt": "created_at",
    "heartbeatAt": "heartbeat_at",
    "updatedAt": "heartbeat_at",
    "updated_at": "heartbeat_at",
    "summaryMetrics": "summary_metrics",
    "keysInfo": "keys_info",
}
_TIMES = {"created_at": "run.created_at", "heartbeat_at": "run.heartbeat_at"}
_CONFIG = "ifnull(run.finite_config, run.config)"
_SUMMARY = "ifnull(run.finite_summary, run.summary)"
_KEYS = "(SELECT keys FROM history_keys WHERE history_keys.run_id = run.id)"


def run_field(name: str, state_rule: StateRule) -> Field:
    """The field of that name; UnknownFieldError says what would have been possible."""
    head, _, rest = name.partition(".")
    head = _ALIASES.get(head, head)
    if rest:
        return _inside(head, rest, name)
    if head == "state":
        return Field(state_rule.sql(), Sql("'text'"), never_null=True)
    if head == "tags":
        return Field(
            Sql("run.tags"), Sql("'array'"), Sql("SELECT value, type FROM json_each(run.tags)")
        )
    if head in _TIMES:
        return moment(_TIMES[head])
    if head in _COLUMNS:
        return column(_COLUMNS[head], never_null=head in ("name", "display_name"))
    raise UnknownFieldError(
        f"runs have no {name!r} to ask for; known are state, tags, "
        f"{', '.join([*_COLUMNS, *_TIMES])}, config.KEY, summary_metrics.KEY "
        "and keys_info.keys.KEY"
    )


def asks_for_keys(name: str) -> bool:
    return name.startswith(("keys_info.", "keysInfo."))


def _inside(head: str, rest: str, name: str) -> Field:
    if '"' in rest or "\0" in rest:
        raise UnknownFieldError(f"{name!r}: a key with a double quote or a NUL cannot be asked for")
    parts = rest.split(".")
    if head == "config":
        inner = parts[2:] if parts[1:2] == ["value"] else parts[1:]
        paths = [_path([parts[0], "value", *inner])]
        literal = rest.removesuffix(".value")
        if "." in literal:
            paths.append(_path([literal, "value"]))
        return _json_field(_CONFIG, paths)
    if head == "summary_metrics":
        return _json_field(_SUMMARY, [_path(parts)] + ([_path([rest])] if len(parts) > 1 else []))
    if head == "keys_info" and parts[0] == "keys" and len(parts) > 1:
        return _json_field(_KEYS, [_path(["keys", ".".join(parts[1:])])])
    raise UnknownFieldError(
        f"runs have no {name!r} to ask for: only config, summary_metrics and keys_info.keys "
        "have keys inside"
    )


def _path(parts: list[str]) -> str:
    # An all-digit part is an element of a list or a key; W&B's own dashboards use only keys.
    return "$" + "".join(f'."{part}"' for part in parts)


def _json_field(document: str, paths: list[str]) -> Field:
    kind = _first_of(f"json_type({document}, ?)", paths)
    if len(paths) == 1:
        place = value(paths[0])
    else:
        first, other = paths
        place = Sql(f"iif(json_type({document}, ?) IS NULL, ?, ?)", (first, other, first))
    return Field(
        _first_of(f"json_extract({document}, ?)", paths),
        kind,
        Sql(
            f"SELECT value, type FROM json_each({document}, {place.text})",  # noqa: S608 - our own columns
            place.parameters,
        ),
    )


def _first_of(call: str, paths: list[str]) -> Sql:
    if len(paths) == 1:
        return Sql(call, value(paths[0]).parameters)
    return Sql(f"coalesce({', '.join([call] * len(paths))})", tuple(paths))
