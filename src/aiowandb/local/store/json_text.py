"""JSON as the SDK writes it: with bare NaN and Infinity, which strict readers refuse."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import orjson

# Integers are exact, also those beyond 64 bits.
_decode = msgspec.json.Decoder().decode


def loads(text: str | bytes) -> Any:
    """Decode JSON that may hold NaN, Infinity and control characters. Raises ValueError."""
    try:
        return _decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return json.loads(text, strict=False)


def loads_object(text: str) -> dict[str, Any] | None:
    """The JSON object in `text`, or None if it is anything else."""
    try:
        value = loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def dumps(value: Any) -> str:
    """Encode with bare NaN and Infinity, for JSON that travels inside a string."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def strict(value: Any) -> Any:
    """The value with NaN and Infinity as strings, for JSON that travels as JSON."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {key: strict(item) for key, item in value.items()}
    if isinstance(value, list):
        return [strict(item) for item in value]
    return value


def finite(text: str) -> str | None:
    """What SQLite's JSON functions can read, or None if `text` is that already.

    NaN becomes null; Infinity becomes a number too large for a double, which SQLite reads as
    infinity: comparisons and orders then come out right.
    """
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return _finite_dumps(json.loads(text, strict=False))
    return None


def _finite_dumps(value: Any) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return "null" if math.isnan(value) else "9e999" if value > 0 else "-9e999"
    if isinstance(value, dict):
        members = (f"{json.dumps(key)}:{_finite_dumps(item)}" for key, item in value.items())
        return "{" + ",".join(members) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_finite_dumps, value)) + "]"
    return json.dumps(value)
