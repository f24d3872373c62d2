"""Values as W&B writes them: JSON with `NaN`, `Infinity` and control characters, times in UTC.

Integers of any size are decoded exactly.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Annotated, Any, TypeAlias

import msgspec

from aiowandb.errors import ServerError, UsageError

# No count, size or step is larger: a response with one that is has the wrong form, and the request
# is sent again. Neither JSON nor msgspec has a limit, but tables do.
Int64: TypeAlias = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]

_NON_FINITE = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}

# msgspec decodes integers of any size, where orjson turns those beyond 64 bits into floats.
_decode = msgspec.json.Decoder().decode
_SURROGATE = re.compile("[\ud800-\udfff]")


def loads(text: str | bytes) -> Any:
    """Decode with the fast strict decoder, and with the lenient one only if that fails."""
    try:
        return _decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        pass
    try:
        return json.loads(text, strict=False, parse_int=_integer)
    except (ValueError, RecursionError) as error:
        raise ServerError(f"W&B sent JSON that cannot be decoded: {error}", error) from error


def loads_object(text: str | bytes) -> dict[str, Any]:
    """Decode JSON that must be an object."""
    value = loads(text)
    if not isinstance(value, dict):
        raise ServerError(f"W&B sent JSON that is not an object: {str(text)[:100]}")
    return value


def dumps(value: Any, *, sort_keys: bool = False) -> str:
    """Encode as W&B's own client does: NaN and the infinities as bare words."""
    try:
        text = json.dumps(
            value,
            separators=(",", ":"),
            ensure_ascii=False,
            default=_plain,
            sort_keys=sort_keys,
        )
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"This value cannot be encoded as JSON: {error}.") from error
    if text.isascii():
        return text
    # A lone surrogate can be sent only as an escape.
    return _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def as_float(text: str) -> float | None:
    """The number of a string that W&B writes for NaN or an infinity; None for other strings.

    >>> as_float("-Infinity")
    -inf
    """
    return _NON_FINITE.get(text)


def as_integer(value: int | str | None) -> int:
    """The number: some servers send large ones as text. None is 0."""
    try:
        return msgspec.convert(int(value or 0), Int64)
    except (msgspec.MsgspecError, ValueError) as error:
        raise ServerError(f"W&B sent a number that is none: {str(value)[:100]!r}", error) from error


def as_utc(moment: datetime | None) -> datetime | None:
    """The time with its zone: W&B writes times in UTC without saying so."""
    return moment.replace(tzinfo=UTC) if moment and moment.tzinfo is None else moment


def parse_time(text: str | None) -> datetime | None:
    """The time in this text, or None if there is none."""
    try:
        return as_utc(datetime.fromisoformat(text)) if text else None
    except ValueError:
        return None


def _integer(digits: str) -> int | str:
    try:
        return int(digits)
    except ValueError:
        return digits  # too many for Python to convert


def _plain(value: Any) -> Any:
    # The scalars and arrays of numpy and torch.
    for method in ("tolist", "item"):
        if callable(convert := getattr(value, method, None)):
            return convert()
    if isinstance(value, set | frozenset | tuple):
        return list(value)
    raise TypeError(f"a value of type {type(value).__name__}")
