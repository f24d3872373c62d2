"""JSON as W&B stores it: with bare `NaN` and `Infinity`, and control characters in strings.

Integers are exact, however large they are and whatever stands beside them.
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from aiowandb.errors import ServerError, UsageError

_NON_FINITE = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}

# It reads integers of any size exactly, where orjson makes floats of those beyond 64 bits.
_decode = msgspec.json.Decoder().decode
_SURROGATE = re.compile("[\ud800-\udfff]")


def loads(text: str | bytes) -> Any:
    """Decode strictly at full speed, and leniently only what needs it."""
    try:
        return _decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        pass
    try:
        return json.loads(text, strict=False, parse_int=_integer)
    except (ValueError, RecursionError) as error:
        raise ServerError(f"W&B answered with JSON that cannot be read: {error}", error) from error


def loads_object(text: str | bytes) -> dict[str, Any]:
    """Decode what has to be an object."""
    value = loads(text)
    if not isinstance(value, dict):
        raise ServerError(f"W&B answered with JSON that is no object: {str(text)[:100]}")
    return value


def dumps(value: Any, *, sort_keys: bool = False) -> str:
    """Encode as W&B's own client does: NaN and the infinities as bare tokens."""
    try:
        text = json.dumps(
            value,
            separators=(",", ":"),
            ensure_ascii=False,
            default=_plain,
            sort_keys=sort_keys,
        )
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"This cannot be said in JSON: {error}.") from error
    if text.isascii():
        return text
    # No request can carry half of a surrogate pair but as an escape.
    return _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def as_float(text: str) -> float | None:
    """The number that W&B writes as a string where JSON has none for it, or None.

    >>> as_float("-Infinity")
    -inf
    """
    return _NON_FINITE.get(text)


def _integer(digits: str) -> int | str:
    try:
        return int(digits)
    except ValueError:
        return digits  # Python makes no number of so many digits


def _plain(value: Any) -> Any:
    # numpy's and torch's scalars and arrays know how to become Python's.
    for method in ("tolist", "item"):
        if callable(convert := getattr(value, method, None)):
            return convert()
    if isinstance(value, set | frozenset | tuple):
        return list(value)
    raise TypeError(f"a value of type {type(value).__name__}")
