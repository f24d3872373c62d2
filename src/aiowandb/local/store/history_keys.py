"""`historyKeys`: which keys a history has and how many values of which type each holds.

Counted when asked for and kept; lines that came since are added to the count, and only a line
that was rewritten makes it start anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from aiowandb.local.store import json_text
from aiowandb.local.store.rows import NON_FINITE, flatten, kind_of

if TYPE_CHECKING:
    from collections.abc import Iterable


class KeyCounter:
    """Counts value types a key. `snapshot()` is what W&B answers, and can be continued from."""

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

    def add(self, lines: Iterable[tuple[int, str]]) -> None:
        """Count lines, each given as its step and text."""
        for step, text in lines:
            self.last_step = max(self.last_step, step)
            for key, value in flatten(json_text.loads_object(text) or {}).items():
                self._add_value(key, value)

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

    def _add_value(self, key: str, value: object) -> None:
        counts = self._counts.setdefault(key, {})
        kind = kind_of(value)
        counts[kind] = counts.get(kind, 0) + 1
        if kind != "number":
            return
        number = NON_FINITE[value] if isinstance(value, str) else value
        assert isinstance(number, (int, float))  # noqa: S101 - what kind_of calls a number
        if number - number != 0:  # NaN or infinite: no order to keep, and no JSON number
            return
        previous = self._previous.get(key)
        if previous is not None and number < previous:
            self._falling.add(key)
        self._previous[key] = number


def encode(snapshot: dict[str, Any]) -> str:
    return orjson.dumps(snapshot).decode()
