"""`historyKeys`: the keys of a history, with the number of values of each type.

Counted on demand and cached; new lines are added to the count, and only a rewritten line makes it
start over.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from operator import gt
from typing import TYPE_CHECKING, Any

import orjson

from aiowandb_server.store.metering import charge
from aiowandb_server.store.rows import MISSING, Missing, kind_of, types_of

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence


_MAX_NUMBER = 2**63
# What is known of a key: here, in the snapshot, as text and in the answer, besides its name.
_SIZE_OF_KEY = 1_000
_COPIES_OF_NAME = 4


class KeyCounter:
    """Counts the types of values by key. `snapshot()` has W&B's format and can be continued."""

    def __init__(self, snapshot: dict[str, Any] | None = None) -> None:
        snapshot = snapshot or {"lastStep": -1, "keys": {}}
        self.last_step: int = snapshot["lastStep"]
        self._counts: dict[str, dict[str, int]] = {}
        self._previous: dict[str, float] = {}
        self._falling: set[str] = set()
        for key, facts in snapshot["keys"].items():
            self._counts_of(key).update(
                {entry["type"]: entry["count"] for entry in facts["typeCounts"]}
            )
            if isinstance(facts["previousValue"], (int, float)):
                self._previous[key] = facts["previousValue"]
            if not facts["monotonic"]:
                self._falling.add(key)

    def add(
        self,
        steps: Sequence[int],
        columns: Mapping[str, Sequence[Any]],
        types: Mapping[str, set[type]] | None = None,
    ) -> None:
        """Count the columns of rows with these steps; see `columns_of` and `types_of`."""
        self.last_step = max([self.last_step, *steps])
        types = types or types_of(columns)
        for key, values in columns.items():
            self._add_column(key, values, types[key])

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

    def _counts_of(self, key: str) -> dict[str, int]:
        """The counts of a key by type; those of a new one count as memory of the request."""
        found = self._counts.get(key)
        if found is None:
            charge(_SIZE_OF_KEY + _COPIES_OF_NAME * sys.getsizeof(key))
            found = self._counts[key] = {}
        return found

    def _add_column(self, key: str, values: Sequence[Any], types: set[type]) -> None:
        if Missing in types:
            values = [value for value in values if value is not MISSING]
        plain = types <= {int, float, Missing}
        found = {"number": len(values)} if plain else Counter(map(kind_of, values))
        counts = self._counts_of(key)
        for kind, count in found.items():
            counts[kind] = counts.get(kind, 0) + count
        if not plain:
            values = [value for value in values if type(value) in (int, float)]
        if key in self._falling:
            # It stays so: only its last value is of interest.
            for value in filter(_is_comparable, reversed(values)):
                self._previous[key] = value
                break
            return
        numbers = values if _are_comparable(values) else list(filter(_is_comparable, values))
        if not numbers:
            return
        before = [self._previous.get(key, numbers[0]), *numbers]
        if any(map(gt, before, numbers)):
            self._falling.add(key)
        self._previous[key] = numbers[-1]

    def encode(self) -> str:
        return orjson.dumps(self.snapshot()).decode()


def _are_comparable(values: Sequence[Any]) -> bool:
    """Whether all of the numbers are; for most columns this saves looking at each of them."""
    try:
        # A NaN anywhere makes the sum one, and without NaN the least and the greatest are right.
        return (
            math.isfinite(sum(values)) and -_MAX_NUMBER < min(values) <= max(values) < _MAX_NUMBER
        )
    except (OverflowError, ValueError):  # a huge integer, or no values at all
        return False


def _is_comparable(value: float) -> bool:
    """NaN, infinite and huge values cannot be compared."""
    return abs(value) < _MAX_NUMBER


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
