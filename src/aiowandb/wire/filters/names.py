"""The names of columns and keys of a run: how users write them, and how W&B does.

A name is a column like `state`, or a key inside the config or the summary: `config.lr`,
`config.model.depth`, `summary.eval/loss`. A key that itself contains a dot is written in
double quotes: `config."a.b"`. W&B stores a config value under the key's `value`, which is the
only difference between `config."a.b"` (sent as `config.a.b.value`) and `config.a.b`
(`config.a.value.b`). In a summary W&B looks for both.
"""

from __future__ import annotations

import re

import msgspec

from aiowandb.errors import UsageError
from aiowandb.suggestions import did_you_mean
from aiowandb.user_warnings import warn

_SENT_AS = {
    "summary": "summary_metrics",
    "summaryMetrics": "summary_metrics",
    "tag": "tags",
    "user": "username",
}
_SNAKE = {
    "createdAt": "created_at",
    "heartbeatAt": "heartbeat_at",
    "displayName": "display_name",
    "jobType": "job_type",
}
# The columns that W&B documents, and others that it is known to accept. There may be more.
_COLUMNS = (
    *(
        "state",
        "name",
        "display_name",
        "displayName",
        "group",
        "job_type",
        "jobType",
        "tags",
        "tag",
    ),
    *("username", "user", "host", "sweep", "duration", "commit", "notes", "description"),
    *("created_at", "createdAt", "heartbeat_at", "heartbeatAt", "updated_at", "updatedAt"),
    *("config", "summary_metrics", "summaryMetrics", "summary", "system_metrics"),
    *("systemMetrics", "keys_info", "id", "project", "entity"),
)
_COLUMN = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_SEGMENT = re.compile(r'"([^"]+)"|([^."]+)')
# A key that needs no quotes in an expression: it has no punctuation.
PLAIN_KEY = r"""[^\s()\[\],"'<>=!~.]+"""


class Name(msgspec.Struct, frozen=True):
    """The name of a column, or of a key inside one."""

    column: str
    keys: tuple[str, ...] = ()
    is_quoted: bool = False

    @property
    def in_filter(self) -> str:
        """The name in a filter: as it was typed, if W&B understands that."""
        if self.column == "config" and self.is_quoted:
            return self._wrapped()
        return ".".join([_SENT_AS.get(self.column, self.column), *self.keys])

    @property
    def in_order(self) -> str:
        """The name in an order."""
        if self.column == "config" and self.keys:
            return self._wrapped()
        column = _SENT_AS.get(self.column, self.column)
        return ".".join([_SNAKE.get(column, column), *self.keys])

    def _wrapped(self) -> str:
        key, *inner = self.keys
        if inner[:1] == ["value"]:
            del inner[0]
        return ".".join([self.column, key, "value", *inner])

    def __str__(self) -> str:
        """The name in an expression: with quotes where they are needed."""
        keys = (key if re.fullmatch(PLAIN_KEY, key) else f'"{key}"' for key in self.keys)
        return ".".join([self.column, *keys])


def parse_name(text: str) -> Name:
    """Parse the name of a column or key.

    >>> parse_name('config."a.b"').in_filter
    'config.a.b.value'
    """
    segments: list[str] = []
    is_quoted = False
    end = -1
    while end < len(text):
        found = _SEGMENT.match(text, end + 1)
        if found is None or text[found.end() : found.end() + 1] not in (".", ""):
            raise UsageError(
                f"{text!r} is not a name: write it like state, config.lr,"
                ' summary.eval/loss, or config."a.b" if a key has a dot.'
            )
        segments.append(found[1] or found[2])
        is_quoted |= found[1] is not None
        end = found.end()
    column, *keys = segments
    if not _COLUMN.fullmatch(column) or text.startswith('"'):
        raise UsageError(
            f"{text!r} is not a name: {column!r} is not a column. Write a key after its column"
            " and a dot, like config.lr or summary.eval/loss."
        )
    if column not in _COLUMNS and (hint := did_you_mean(column, _COLUMNS)):
        warn(f"{text!r}: runs have no known column {column!r}{hint}")
    return Name(column, tuple(keys), is_quoted)
