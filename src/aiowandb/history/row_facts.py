"""What W&B says of all rows of a run, by which files of another run are recognized.

It comes with the plan of the run. Only what cannot differ for other reasons is used. The start and
the heartbeat of the run are not: copied and offline runs have rows from before. Nor is its summary,
which users overwrite and `define_metric` changes. Nor are columns that W&B has not announced, as it
may leave keys out, nor keys that only some rows have: whether a NaN or a None counts is not known.

What is left is believed only if W&B counts a key in exactly as many rows as there are. If the
counts lag behind, or if rows were rewound or sent twice, the numbers differ: there are no facts.
"""

from __future__ import annotations

import math
from itertools import islice
from typing import TypeGuard

import msgspec

from aiowandb.wire.history import HistorySource
from aiowandb.wire.record import KeyInfo
from aiowandb.wire.rows import STEP, TIME

# The time differs between runs, even of one sweep. Another key helps where rows have no times.
_COMPARED_KEYS = 2
# How many keys to look at for these: runs may have thousands.
_CANDIDATES = 32
# From here on, doubles are not exact.
_MAX_NUMBER = 2**53
# Texts of numbers may be rounded. Times are exact to milliseconds, others may have 32 bits.
_TIME_TOLERANCE, _TOLERANCE = 1e-12, 1e-6


class KeyFact(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A key that each row of a run has, with a number, and the last of these numbers."""

    name: str
    last: float
    never_falls: bool = False

    @property
    def margin(self) -> float:
        """By how much the number may differ in a file."""
        return abs(self.last) * (_TIME_TOLERANCE if self.name == TIME else _TOLERANCE)

    def fits(self, value: object) -> bool:
        """Whether this value of a row is that number."""
        return _is_number(value) and abs(value - self.last) <= self.margin


class RowFacts(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What W&B says of the rows of a run. With `has_live`, the last of them are in no file yet."""

    keys: tuple[KeyFact, ...]
    last_step: int
    has_live: bool = False

    @classmethod
    def of(cls, source: HistorySource) -> RowFacts | None:
        """The facts that can be believed, or None if there are none."""
        counted, rows, files = source.history_keys, source.history_line_count, source.files
        if not counted or not rows or not files:
            return None
        candidates = {TIME: counted.keys.get(TIME)} | dict(
            islice(counted.keys.items(), _CANDIDATES)
        )
        found = [
            KeyFact(name, float(key.previous_value), key.monotonic is True)
            for name, key in candidates.items()
            if key and _is_comparable(name, key, rows)
        ]
        # Numbers with fractions are rarely the same in two runs.
        found.sort(key=lambda fact: (fact.name != TIME, fact.last.is_integer()))
        keys = tuple(found[:_COMPARED_KEYS])
        return cls(keys, counted.last_step, bool(source.live_rows)) if keys else None


def _is_comparable(name: str, key: KeyInfo, rows: int) -> bool:
    """Whether each row has a number under the key, the last of which is known."""
    # Nested keys and literal ones with dots share their names. Steps are compared anyway.
    if name == STEP or "." in name or "\\" in name:
        return False
    last = key.previous_value
    if not _is_number(last) or not math.isfinite(last) or abs(last) > _MAX_NUMBER:
        return False
    return key.types == {"number"} and key.count == rows


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
