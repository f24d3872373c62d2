"""Orders of lists, and cursors that stay valid while rows are added and deleted.

A cursor is the position of a row in its order (the value ordered by, and the row's id), not a
count of rows to skip: the next page begins at the same row whatever was inserted before, and is
equally fast anywhere in the list. Rows without a value come last in both directions.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from types import NoneType
from typing import TYPE_CHECKING, Any

from aiowandb_server.errors import RequestError
from aiowandb_server.store import json_text
from aiowandb_server.store.conditions import TRUE, Sql

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiowandb_server.store.fields import FieldOf


# Numbers with more digits may not fit into 64 bits.
_DIGITS = 19


@dataclass(frozen=True, slots=True)
class Order:
    """An order by `key`, then by `row_id`."""

    key: Sql
    row_id: str
    descending: bool
    never_null: bool

    @property
    def sql(self) -> Sql:
        way = "DESC" if self.descending else "ASC"
        nulls = "" if self.never_null else f"({self.key.text} IS NULL), "
        repeated = self.key.parameters * (1 if self.never_null else 2)
        return Sql(f"{nulls}{self.key.text} {way}, {self.row_id} {way}", repeated)

    def after(self, cursor: str | None) -> Sql:
        """The condition for the rows after the cursor's."""
        if cursor is None:
            return TRUE
        last, row_id = _decode(cursor)
        sign = "<" if self.descending else ">"
        key, parameters = self.key.text, self.key.parameters
        if self.never_null:
            return Sql(f"(({key}, {self.row_id}) {sign} (?, ?))", (*parameters, last, row_id))
        if last is None:
            return Sql(f"({key} IS NULL AND {self.row_id} {sign} ?)", (*parameters, row_id))
        return Sql(
            f"({key} IS NULL OR ({key}, {self.row_id}) {sign} (?, ?))",
            (*parameters, *parameters, last, row_id),
        )


def parse_order(text: str, field: FieldOf, row_id: str) -> Order:
    """`+created_at`, `-summary_metrics.loss`; no sign means ascending."""
    found = field(text.lstrip("+-"))
    return Order(found.value, row_id, text.startswith("-"), found.never_null)


def cursor_of(value: object, row_id: int) -> str:
    return base64.urlsafe_b64encode(json_text.dumps([value, row_id]).encode()).decode()


def number_of(cursor: str | None) -> int | None:
    """The number in a cursor of a list ordered by id; None without one. Raises RequestError."""
    if not cursor:
        return None
    if cursor.isascii() and cursor.isdecimal() and len(cursor) < _DIGITS:
        return int(cursor)
    raise _not_a_cursor(cursor)


def _decode(cursor: str) -> tuple[Any, int]:
    try:
        place: Sequence[Any] = json_text.loads(base64.urlsafe_b64decode(cursor).decode())
        value, row_id = place
        # Infinity is a valid value; an integer that no column can store is not.
        is_value = isinstance(value, (str, int, float, NoneType)) and value == value
        numbers = [number for number in (value, row_id) if type(number) is int]
        if is_value and type(row_id) is int and all(map(_fits, numbers)):
            return value, row_id
    except (binascii.Error, ValueError, TypeError):
        pass
    raise _not_a_cursor(cursor)


def _fits(number: int) -> bool:
    return -(2**63) <= number < 2**63


def _not_a_cursor(cursor: str) -> RequestError:
    return RequestError(f"{cursor[:80]!r} is not a cursor of this list")
