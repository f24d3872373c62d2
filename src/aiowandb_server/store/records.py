"""What the store hands out: frozen records, one a table row or a question answered."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence


def iso(seconds: float) -> str:
    """ISO 8601 in UTC, whole seconds, without zone."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Entity:
    id: int
    name: str
    is_team: bool
    created_at: int


@dataclass(frozen=True, slots=True)
class UserRow:
    """`entity` is the user's own; runs that name none go to `default_entity`."""

    id: int
    username: str
    name: str
    email: str
    is_admin: bool
    entity: str
    created_at: int
    default_entity: str


@dataclass(frozen=True, slots=True)
class MemberRow:
    user: UserRow
    is_admin: bool


@dataclass(frozen=True, slots=True)
class ApiKeyRow:
    """A key as it is listed: its first characters only."""

    id: int
    hint: str
    description: str | None


@dataclass(frozen=True, slots=True)
class ProjectRow:
    id: int
    entity: str
    name: str
    description: str | None
    access: str
    user_id: int | None
    created_at: int
    run_count: int


@dataclass(frozen=True, slots=True)
class RunRow:
    """`state` is what it means now: a running run that has fallen silent reads as crashed."""

    id: int
    project_id: int
    entity: str
    project: str
    name: str
    display_name: str
    state: str
    created_at: int
    heartbeat_at: int
    user_id: int | None
    sweep: str | None
    group: str | None
    job_type: str | None
    host: str | None
    program: str | None
    repo: str | None
    git_commit: str | None
    exit_code: int | None
    stop_requested: bool
    history_lines: int
    event_lines: int
    console_lines: int
    tags: str
    notes: str | None
    description: str | None
    config: str
    summary: str


@dataclass(frozen=True, slots=True)
class RunChanges:
    """What to set on a run. None leaves a field as it is.

    `config` and `summary` are JSON objects as text, exactly as they will be given back.
    """

    display_name: str | None = None
    state: str | None = None
    user_id: int | None = None
    sweep: str | None = None
    group: str | None = None
    job_type: str | None = None
    host: str | None = None
    program: str | None = None
    repo: str | None = None
    git_commit: str | None = None
    tags: Sequence[str] | None = None
    notes: str | None = None
    description: str | None = None
    config: str | None = None
    summary: str | None = None
    created_at: int | None = None
    heartbeat_at: int | None = None


class Line(NamedTuple):
    """A history line: its step, where it stands in the stream, and the text that was sent."""

    step: int
    number: int
    text: str


@dataclass(frozen=True, slots=True)
class SegmentRow:
    """The compacted part of a run's history. `token` names its two files."""

    token: str
    row_count: int
    first_step: int
    last_step: int
    end_number: int


@dataclass(frozen=True, slots=True)
class ListPage(Generic[T]):
    """Some of a list, each item with the cursor that continues after it."""

    items: list[T]
    cursors: list[str]
    has_next: bool
