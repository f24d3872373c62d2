"""Orders of run lists, and cursors that stay right while runs come and go.

A cursor is the place of a run in its order (the value ordered by, and the run's row id), not a
count of runs to skip: the page after it begins at the same run whatever was inserted before, and
costs the same however far down it lies. Runs without a value come last in both directions.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from aiowandb.errors import UsageError
from aiowandb.local.store.conditions import TRUE, Sql
from aiowandb.local.store.run_fields import StateRule, field

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Order:
    key: Sql
    descending: bool
    never_null: bool

    @property
    def sql(self) -> Sql:
        way = "DESC" if self.descending else "ASC"
        nulls = "" if self.never_null else f"({self.key.text} IS NULL), "
        repeated = self.key.parameters * (1 if self.never_null else 2)
        return Sql(f"{nulls}{self.key.text} {way}, run.id {way}", repeated)

    def after(self, cursor: str | None) -> Sql:
        """True for the runs that come after the one that the cursor names."""
        if cursor is None:
            return TRUE
        last, run_id = _decode(cursor)
        sign = "<" if self.descending else ">"
        key, parameters = self.key.text, self.key.parameters
        if self.never_null:
            return Sql(f"(({key}, run.id) {sign} (?, ?))", (*parameters, last, run_id))
        if last is None:
            return Sql(f"({key} IS NULL AND run.id {sign} ?)", (*parameters, run_id))
        return Sql(
            f"({key} IS NULL OR ({key}, run.id) {sign} (?, ?))",
            (*parameters, *parameters, last, run_id),
        )


def parse_order(text: str | None, state_rule: StateRule) -> Order:
    """`+created_at`, `-summary_metrics.loss`; no sign means ascending."""
    text = text or "+created_at"
    name = text.lstrip("+-")
    found = field(name, state_rule)
    return Order(found.value, text.startswith("-"), found.never_null)


def cursor_of(value: object, run_id: int) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([value, run_id])).decode()


def _decode(cursor: str) -> tuple[Any, int]:
    try:
        place: Sequence[Any] = orjson.loads(base64.urlsafe_b64decode(cursor))
        value, run_id = place
    except (binascii.Error, ValueError, TypeError):
        raise UsageError(f"{cursor!r} is no cursor of a list of runs") from None
    return value, int(run_id)
