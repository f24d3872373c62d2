"""A row of a history as its users get it, the same whether it came as JSON or as Parquet.

- What was not logged in the row is not in it. That goes for a None that was logged, too:
  Parquet does not tell the two apart.
- A number without a fraction is an int, and any other one a float. W&B's own client writes
  1.0 as `1`, and Parquet has 1.0 for both.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from aiowandb.wire.dotted import flattened

# What W&B itself puts into every row.
STEP, TIME = "_step", "_timestamp"

# Beyond these, a float is rarely the integer that was logged.
_LEAST_WHOLE, _MOST_WHOLE = -(2.0**63), 2.0**63
_NESTS = frozenset({list, dict})


def flat_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """The values that were logged in a row, under dotted names.

    >>> flat_row({"_step": 1.0, "val": {"acc": 0.5, "top": None}})
    {'_step': 1, 'val.acc': 0.5}
    """
    flat = flattened(row) if dict in map(type, row.values()) else row
    return {
        # Most values are floats with a fraction: those are seen here, without a call.
        key: value
        if (value % 1 if type(value) is float else type(value) not in _NESTS)
        else plain_value(value)
        for key, value in flat.items()
        if value is not None
    }


def plain_value(value: Any) -> Any:
    """The value with a number without a fraction as an int, also within lists and objects.

    >>> plain_value([1.0, 0.5, -0.0, 1e300])
    [1, 0.5, -0.0, 1e+300]
    """
    kind = type(value)
    if kind is float:
        return int(value) if is_whole(value) else value
    if kind is list or kind is dict:
        with suppress(RecursionError):
            return _plain_nest(value)
    return value


def is_whole(value: float) -> bool:
    """Whether an int says the same: not of -0.0, and not of what has more than 64 bits."""
    return (
        value.is_integer()
        and _LEAST_WHOLE <= value < _MOST_WHOLE
        and (value != 0 or str(value) == "0.0")
    )


def _plain_nest(value: Any) -> Any:
    if type(value) is list:
        return [_plain_nest(item) for item in value]
    if type(value) is dict:
        return {key: _plain_nest(item) for key, item in value.items()}
    return plain_value(value)
