"""The records that the store returns: frozen dataclasses."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence


def iso(seconds: float) -> str:
    """ISO 8601 in UTC, rounded down to seconds, without a zone."""
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
    """`entity` is the user's own; runs without an entity are created in `default_entity`."""

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
    """An API key in a list: only its first characters."""

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
    """`state` is the present one: a running run without heartbeats counts as crashed."""

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
    """Changes to a run; None leaves a field unchanged.

    `config` and `summary` are the text of JSON objects, which is returned exactly as it is.
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
    """A history line: its step, its number in the stream, and the text that was sent."""

    step: int
    number: int
    text: str


@dataclass(frozen=True, slots=True)
class SegmentRow:
    """The compacted part of a run's history; `token` is in the names of its two files."""

    token: str
    row_count: int
    first_step: int
    last_step: int
    end_number: int


@dataclass(frozen=True, slots=True)
class ListPage(Generic[T]):
    """A page of a list; each item has the cursor of the page after it."""

    items: list[T]
    cursors: list[str]
    has_next: bool
