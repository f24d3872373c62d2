"""The fields of runs that filters and orders can use, and their SQL.

Columns have two spellings (`displayName`, `display_name`). `config.lr` and `config.lr.value` both
name what the SDK stores as `{"lr": {"value": ...}}`, as do `config.model.depth` and
`config.model.value.depth` for nested keys. A key that itself contains dots is found too, unless
there is a nested one of the same name; `config.a\\.b` always is the key with the dot.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from aiowandb_server.errors import UnknownFieldError
from aiowandb_server.store.conditions import Sql
from aiowandb_server.store.fields import FilterField, column, moment
from aiowandb_server.store.json_text import key_in_path

_BETWEEN_KEYS = re.compile(r"(?<!\\)\.")


@dataclass(frozen=True, slots=True)
class StateRule:
    """When a run without heartbeats counts as crashed: `now` and `crash_after` in seconds."""

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
_DOCUMENTS = {"config": _CONFIG, "summary": _SUMMARY}
_KEYS = "(SELECT keys FROM history_keys WHERE history_keys.run_id = run.id)"


@dataclass(frozen=True, slots=True)
class KeyPaths:
    """The possible paths of a key in `config` or `summary`; the first that exists is used."""

    document: str
    paths: tuple[str, ...]

    @property
    def three(self) -> tuple[str, ...]:
        """Three paths, the last one repeated if there are fewer."""
        return (*self.paths, *self.paths[-1:] * (3 - len(self.paths)))


def run_field(name: str, state_rule: StateRule) -> FilterField:
    """The field of that name. Raises UnknownFieldError, which lists the possible fields."""
    if (found := key_paths(name)) is not None:
        return _json_field(_DOCUMENTS[found.document], found.paths)
    head, dot, rest = name.partition(".")
    head = _ALIASES.get(head, head)
    if dot:
        if head == "keys_info" and rest.startswith("keys."):
            return _json_field(_KEYS, (_path(["keys", rest.removeprefix("keys.")]),))
        raise UnknownFieldError(
            f"runs have no field {name!r}: only config, summary_metrics and keys_info.keys "
            "have keys inside"
        )
    if head == "state":
        return FilterField(state_rule.sql(), Sql("'text'"), never_null=True)
    if head == "tags":
        return FilterField(
            Sql("run.tags"), Sql("'array'"), Sql("SELECT value, type FROM json_each(run.tags)")
        )
    if head in _TIMES:
        return moment(_TIMES[head])
    if head in _COLUMNS:
        return column(_COLUMNS[head], never_null=head in ("name", "display_name"))
    raise UnknownFieldError(
        f"runs have no field {name!r}; known are state, tags, "
        f"{', '.join([*_COLUMNS, *_TIMES])}, config.KEY, summary_metrics.KEY "
        "and keys_info.keys.KEY"
    )


def asks_for_keys(name: str) -> bool:
    return name.startswith(("keys_info.", "keysInfo."))


def key_paths(name: str) -> KeyPaths | None:
    r"""The paths of the key in `config.KEY` or `summary_metrics.KEY`; None for other names.

    `a.b` is the nested key, or else the key with a dot; `a\.b` is always the key with a dot.
    """
    head, dot, rest = name.partition(".")
    head = _ALIASES.get(head, head)
    if not dot or head not in ("config", "summary_metrics"):
        return None
    parts = rest.split(".")
    literal = rest
    if head == "config":
        inner = parts[2:] if parts[1:2] == ["value"] else parts[1:]
        nested = [parts[0], "value", *inner]
        literal = rest.removesuffix(".value")
        after = ["value"]
    else:
        nested, after = parts, []
    paths = [_path(nested)]
    if "." in literal:
        paths.append(_path([literal, *after]))
    if "\\." in literal:
        # Keys inside of a key with a dot follow a dot without a backslash: `a\\.b.c`.
        first, *inner = (part.replace("\\.", ".") for part in _BETWEEN_KEYS.split(literal))
        paths.append(_path([first, *after, *inner]))
    return KeyPaths("config" if head == "config" else "summary", tuple(paths))


def _path(parts: list[str]) -> str:
    # Parts that are digits are keys, not indices of lists, as in W&B's dashboards.
    for part in parts:
        if '"' in part or "\0" in part:
            raise UnknownFieldError(
                f"{part!r}: keys with a double quote or a NUL are not supported in filters"
            )
    return "$" + "".join(f".{key_in_path(part)}" for part in parts)


def _json_field(document: str, paths: tuple[str, ...]) -> FilterField:
    *others, last = paths
    place = Sql("?", (last,))
    if others:
        # A null at the first path is a value: the second path is not used then.
        cases = " ".join([f"WHEN json_type({document}, ?) IS NOT NULL THEN ?"] * len(others))
        parameters = tuple(path for other in others for path in (other, other))
        place = Sql(f"(CASE {cases} ELSE ? END)", (*parameters, last))
    return FilterField(
        Sql(f"json_extract({document}, {place.text})", place.parameters),
        Sql(f"json_type({document}, {place.text})", place.parameters),
        Sql(
            f"SELECT value, type FROM json_each({document}, {place.text})",  # noqa: S608 - constants
            place.parameters,
        ),
    )
