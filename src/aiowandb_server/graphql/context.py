"""What all resolvers share: the viewer, the store, links, and the server's settings."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiowandb_server.errors import RequestError, TooManyFieldsError
from aiowandb_server.store import json_text
from aiowandb_server.store.metering import charge

if TYPE_CHECKING:
    from aiowandb_server.access import Access
    from aiowandb_server.links import Links
    from aiowandb_server.store.history import HistoryMode
    from aiowandb_server.store.records import UserRow
    from aiowandb_server.store.store import Store


# These take a few seconds; a page of 1,000 runs has a tenth as many.
_MAX_FIELDS = 500_000
# What is looked up in the store, and a sample of a history, cost as much as so many fields.
LOOKUP = 10
SAMPLE = 250
# What a field of an answer takes, which is charged for many of them at once.
_FIELD_SIZE = 300
_FIELDS_AT_ONCE = 1_000
# In characters: parsing so much JSON takes as long as a field.
_TEXT_A_FIELD = 1_000
# The rows of an answer are in memory several times. The SDK asks for 1,000 of them.
MAX_TEXT = 128 << 20


@dataclass(frozen=True, slots=True)
class Context:
    store: Store
    viewer: UserRow
    access: Access
    links: Links
    history: HistoryMode
    _entities: list[frozenset[str] | None] = field(default_factory=list)
    _users: dict[int, UserRow | None] = field(default_factory=dict)
    _fields: list[int] = field(default_factory=lambda: [_MAX_FIELDS])
    _sampled: set[int] = field(default_factory=set)
    _text: list[int] = field(default_factory=lambda: [MAX_TEXT])

    def count_field(self, weight: int = 1) -> None:
        """Count one more resolved field, which costs as much as `weight` plain ones.

        Too many end the request.
        """
        before = self._fields[0]
        self._fields[0] -= weight
        if before // _FIELDS_AT_ONCE != self._fields[0] // _FIELDS_AT_ONCE:
            charge(_FIELDS_AT_ONCE * _FIELD_SIZE)
        if self._fields[0] < 0:
            raise TooManyFieldsError(
                f"the answer would cost as much as more than {_MAX_FIELDS} fields. "
                "Ask for less at once."
            )

    def count_sample(self, run_id: int, lines: int) -> None:
        """Count one more sample of a run: all but the first count as the lines that it reads."""
        self.count_field(SAMPLE + (lines if run_id in self._sampled else 0))
        self._sampled.add(run_id)

    def read_json(self, text: str) -> dict[str, Any]:
        """The JSON object in a stored text, empty if it is none: parsing it costs as much as fields
        do."""
        self.count_field(len(text) // _TEXT_A_FIELD)
        return json_text.loads_object(text) or {}

    def count_text(self, length: int) -> None:
        """Count the text of one more row; too much ends the request."""
        self._text[0] -= length
        if self._text[0] < 0:
            raise RequestError(
                f"the rows would have more than {MAX_TEXT >> 20} MB. Ask for fewer steps at once.",
                413,
            )

    def entity_name(self, name: str | None) -> str:
        """The entity that an argument names; if it is empty, the viewer's default entity."""
        return name or self.viewer.default_entity

    @property
    def entities(self) -> frozenset[str] | None:
        """The entities whose things the viewer may see; None if there is nothing they may not."""
        if not self._entities:
            self._entities.append(self.access.entities(self.viewer))
        return self._entities[0]

    def look_up_entities_again(self) -> None:
        """Before each change, as the viewer may have left a team since: a request may take long."""
        self._entities.clear()

    def may_see(self, entity: str) -> bool:
        # Most requests are about what is the viewer's own: they need not look for teams.
        return entity == self.viewer.entity or self.entities is None or entity in self.entities

    def may_see_project(self, project_id: int) -> bool:
        """Whether the project exists and the viewer may see it."""
        project = self.store.projects.by_id(project_id)
        return project is not None and self.may_see(project.entity)

    def require(self, entity: str) -> None:
        if not self.may_see(entity):
            raise RequestError(f"permission denied: you are not a member of {entity!r}", 403)

    def user(self, user_id: int | None) -> UserRow | None:
        """A user by row id, cached for the request: lists of runs have few different authors."""
        if user_id is None:
            return None
        if user_id not in self._users:
            self._users[user_id] = self.store.accounts.user_by_id(user_id)
        return self._users[user_id]
