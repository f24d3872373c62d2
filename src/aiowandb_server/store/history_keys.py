"""`historyKeys`: the keys of a history, with the number of values of each type.

Counted on demand and cached; new lines are added to the count, and only a rewritten line makes it
start over.
"""

from __future__ import annotations

from collections import Counter
from operator import gt
from typing import TYPE_CHECKING, Any

import orjson

from aiowandb_server.store.rows import kind_of

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable


_MAX_NUMBER = 2**63


class KeyCounter:
    """Counts the types of values by key. `snapshot()` has W&B's format and can be continued."""

    def __init__(self, snapshot: dict[str, Any] | None = None) -> None:
        snapshot = snapshot or {"lastStep": -1, "keys": {}}
        self.last_step: int = snapshot["lastStep"]
        self._counts: dict[str, dict[str, int]] = {
            key: {entry["type"]: entry["count"] for entry in facts["typeCounts"]}
            for key, facts in snapshot["keys"].items()
        }
        self._previous: dict[str, float] = {}
        self._falling: set[str] = set()
        for key, facts in snapshot["keys"].items():
            if isinstance(facts["previousValue"], (int, float)):
                self._previous[key] = facts["previousValue"]
            if not facts["monotonic"]:
                self._falling.add(key)

    def add(self, rows: Iterable[tuple[int, dict[str, Any]]]) -> None:
        """Count flat rows, each with its step."""
        rows = list(rows)
        self.last_step = max([self.last_step, *(step for step, _ in rows)])
        for key in dict.fromkeys(key for _, row in rows for key in row):
            self._add_column(key, [row[key] for _, row in rows if key in row])

    def snapshot(self) -> dict[str, Any]:
        keys = {
            key: {
                "typeCounts": [
                    {"type": kind, "count": count} for kind, count in sorted(counts.items())
                ],
                "monotonic": key in self._previous and key not in self._falling,
                "previousValue": self._previous.get(key),
            }
            for key, counts in self._counts.items()
        }
        return {"lastStep": self.last_step, "sets": [], "keys": keys}

    def _add_column(self, key: str, values: list[Any]) -> None:
        plain = set(map(type, values)) <= {int, float}
        found = {"number": len(values)} if plain else Counter(map(kind_of, values))
        counts = self._counts.setdefault(key, {})
        for kind, count in found.items():
            counts[kind] = counts.get(kind, 0) + count
        if not plain:
            values = [value for value in values if type(value) in (int, float)]
        # NaN, infinite and huge values cannot be compared.
        numbers = [value for value in values if abs(value) < _MAX_NUMBER]
        if not numbers:
            return
        before = [self._previous.get(key, numbers[0]), *numbers]
        if key not in self._falling and any(map(gt, before, numbers)):
            self._falling.add(key)
        self._previous[key] = numbers[-1]

    def encode(self) -> str:
        return orjson.dumps(self.snapshot()).decode()


def save(
    connection: sqlite3.Connection, run_id: int, *, rewrites: int, lines: int, keys: str
) -> None:
    """Save the count of the first `lines` lines, unless one of them was rewritten meanwhile."""
    connection.execute(
        """
        INSERT OR REPLACE INTO history_keys
        SELECT id, history_rewrites, ?, ? FROM run WHERE id = ? AND history_rewrites = ?
        """,
        (lines, keys, run_id, rewrites),
    )
