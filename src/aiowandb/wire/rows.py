"""Rows of a history as users get them, the same whether they came as JSON or as Parquet.

- A row has only the keys that were logged in it. A None that was logged is left out too:
  Parquet has the same null for both.
- A number without a fraction is an int, any other one a float. W&B's own client writes 1.0 as
  `1`, and Parquet has 1.0 for both.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from aiowandb.wire.dotted import flattened

# What W&B itself puts into every row.
STEP, TIME, RUNTIME = "_step", "_timestamp", "_runtime"

# Floats outside of this range are rarely the integers that were logged.
_MIN_INT, _MAX_INT = -(2.0**63), 2.0**63
_CONTAINERS = frozenset({list, dict})


def flat_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """The values that were logged in a row, under dotted names.

    >>> flat_row({"_step": 1.0, "val": {"acc": 0.5, "top": None}})
    {'_step': 1, 'val.acc': 0.5}
    """
    flat = flattened(row) if dict in map(type, row.values()) else row
    return {
        # Most values are floats with a fraction: they are handled here, without a call.
        key: value
        if (value % 1 if type(value) is float else type(value) not in _CONTAINERS)
        else plain_value(value)
        for key, value in flat.items()
        if value is not None
    }


def plain_value(value: Any) -> Any:
    """The value with floats without a fraction turned into ints, also in lists and objects.

    >>> plain_value([1.0, 0.5, -0.0, 1e300])
    [1, 0.5, -0.0, 1e+300]
    """
    kind = type(value)
    if kind is float:
        return int(value) if is_whole(value) else value
    if kind is list or kind is dict:
        with suppress(RecursionError):
            return _plain_container(value)
    return value


def is_whole(value: float) -> bool:
    """Whether an int represents it: not -0.0, and not more than 64 bits."""
    return (
        value.is_integer() and _MIN_INT <= value < _MAX_INT and (value != 0 or str(value) == "0.0")
    )


def _plain_container(value: Any) -> Any:
    if type(value) is list:
        return [_plain_container(item) for item in value]
    if type(value) is dict:
        return {key: _plain_container(item) for key, item in value.items()}
    return plain_value(value)
