"""JSON as the SDK writes it: with bare NaN and Infinity, which strict parsers reject.

Also JSON that any client may send: with lone surrogates, which cannot be encoded (they become
U+FFFD, as in W&B), and nested deeper than other parsers support.
"""

from __future__ import annotations

import json
import math
import re
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import orjson

from aiowandb_server.store.metering import held, weight_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

T = TypeVar("T")

# SQLite parses 1,000 levels, orjson writes 254, and Arrow supports even fewer.
MAX_DEPTH = 200
# Integers are exact, even beyond 64 bits.
_decode = msgspec.json.Decoder().decode

_HALF = re.compile(r"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_PAIR = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}")
# Pieces of text are joined when there are so many: one of a character takes fifty bytes.
_PIECES_AT_ONCE = 1_000
# The memory for less, in characters, is not counted.
_SMALL = 64 << 10
_STRING_OR_BRACKET = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[\]{}]', re.DOTALL)
_TURN = {"[": 1, "{": 1, "]": -1, "}": -1}
# Python does not parse or format integers with more digits.
MAX_DIGITS = 4300
# Only from the first digit on: from each of them, it would take the square of their number.
_ENDLESS_NUMBER = re.compile(rf"(?<![0-9])[0-9]{{{MAX_DIGITS}}}")
_TOKEN = re.compile(rf"{_STRING_OR_BRACKET.pattern}|-?\d[\d.eE+-]*", re.DOTALL)


def loads(text: str) -> Any:
    """Decode JSON that may have NaN, Infinity and control characters. Raises ValueError.

    All strings in the result can be encoded. JSON nested deeper than `MAX_DEPTH` is refused.
    """
    if is_too_deep(text):
        raise ValueError(f"the JSON is nested more than {MAX_DEPTH} levels deep")
    with nullcontext() if len(text) < _SMALL else held(weight_of(text)):
        try:
            return _decode(text)
        except (msgspec.MsgspecError, UnicodeError):
            return json.loads(without_halves(text), strict=False)


def loads_object(text: str) -> dict[str, Any] | None:
    """The JSON object in `text`, or None if it is anything else."""
    try:
        value = loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def decode_body(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """The decoded body, with U+FFFD in place of lone surrogates. Raises ValueError."""
    try:
        try:
            return decoder.decode(body)
        except msgspec.ValidationError:
            raise
        except (msgspec.DecodeError, UnicodeDecodeError):
            # The text, without halves, and as it is parsed.
            with held(3 * len(body)):
                return decoder.decode(without_halves(body.decode("utf-8", "replace")))
    except msgspec.DecodeError as error:
        raise ValueError(str(error)) from error
    except RecursionError as error:
        raise ValueError("the JSON is nested too deeply") from error


def without_halves(text: str) -> str:
    r"""JSON text with U+FFFD for each `\ud83d` or `\ude00` that is not part of a pair."""
    text = encodable(text)
    joined: list[str] = []
    pieces: list[str] = []
    copied = 0
    half = _HALF.search(text)
    while half is not None:
        at = end = half.start()
        if _is_escaped(text, at):
            end += 2
        elif pair := _PAIR.match(text, at):
            end = pair.end()
        else:
            end = half.end()
            pieces += text[copied:at], r"\ufffd"
            copied = end
        if len(pieces) > _PIECES_AT_ONCE:
            joined.append("".join(pieces))
            pieces.clear()
        half = _HALF.search(text, end)
    return "".join([*joined, *pieces, text[copied:]]) if copied else text


def _is_escaped(text: str, at: int) -> bool:
    """Whether the backslash at this place is the second one of an escape."""
    first = at
    while first > 0 and text[first - 1] == "\\":
        first -= 1
    return (at - first) % 2 == 1


def is_flat(text: str) -> bool:
    """Whether a JSON object has neither lists nor other objects for sure."""
    return "[" not in text and text.find("{", 1) < 0


def are_simple(texts: Sequence[str]) -> bool:
    """Whether these are JSON objects, if they are JSON at all, with neither lists nor other
    objects, nor numbers of thousands of digits, for sure: true for most rows."""
    joined = "".join(texts)
    return (
        "[" not in joined
        and joined.count("{") == len(texts)
        and max(map(len, texts), default=0) < MAX_DIGITS
    )


def is_too_deep(text: str) -> bool:
    """Whether JSON text is nested more than `MAX_DEPTH` levels deep."""
    if is_flat(text):
        return False  # most rows: finding nothing is much faster than counting
    return text.count("[") + text.count("{") > MAX_DEPTH and max(_depths(text)) > MAX_DEPTH


def _depths(text: str) -> Iterator[int]:
    depth = 0
    yield depth
    for token in _STRING_OR_BRACKET.finditer(text):
        depth += _TURN.get(token[0], 0)
        yield depth


def has_endless_number(text: str) -> bool:
    """Whether there may be an integer that Python does not parse."""
    # So many digits are at one of these places at least, and most texts have none there.
    return any(
        text[at].isdigit()
        and _ENDLESS_NUMBER.search(text[at - MAX_DIGITS + 1 : at + MAX_DIGITS]) is not None
        for at in range(MAX_DIGITS - 1, len(text), MAX_DIGITS)
    )


def without_excess(text: str) -> str:
    """JSON text in which values that clients could not parse are replaced by their text as a
    string: values nested deeper than `MAX_DEPTH`, and integers with too many digits."""
    if not is_too_deep(text) and not has_endless_number(text):
        return text
    pieces: list[str] = []
    copied = depth = start = 0
    for token in _TOKEN.finditer(text):
        turn = _TURN.get(token[0], 0)
        depth += turn
        excess = None
        if turn > 0 and depth == MAX_DEPTH + 1:
            start = token.start()
        elif turn < 0 and depth == MAX_DEPTH:
            excess = text[start : token.end()]
        elif token[0][0] in "-0123456789" and len(token[0]) >= MAX_DIGITS and depth <= MAX_DEPTH:
            start, excess = token.start(), token[0]
        if excess is not None:
            pieces += text[copied:start], json.dumps(excess)
            copied = token.end()
    return "".join([*pieces, text[copied:]])


def encodable(text: str) -> str:
    """The text with U+FFFD for lone surrogates, and with characters for pairs of them."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def dumps(value: Any) -> str:
    """Encode with bare NaN and Infinity, for JSON that is sent inside a string."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def strict(value: Any) -> Any:
    """The value with NaN and Infinity as strings, for JSON that is sent as such."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {key: strict(item) for key, item in value.items()}
    if isinstance(value, list):
        return [strict(item) for item in value]
    return value


def finite(text: str) -> str | None:
    """JSON that SQLite's functions can parse, or None if `text` already is such JSON.

    NaN becomes null; Infinity becomes a number too large for a double, which SQLite reads as
    infinity, so that comparisons and sorting are correct. Escapes are normalised, because SQLite
    compares the keys of an object with those of a path character by character.
    """
    if "\\" not in text:
        try:
            orjson.loads(text)
        except orjson.JSONDecodeError:
            pass
        else:
            return None
    return _finite_dumps(loads(text))


def key_in_path(key: str) -> str:
    """A key as SQLite expects it in a path, for texts written by `finite`."""
    return json.dumps(key, ensure_ascii=False)


def readable(text: str) -> str:
    """JSON that SQLite's functions can parse, for any text."""
    text = without_halves(text)
    try:
        return finite(text) or text
    except (ValueError, RecursionError):
        return "{}"


def _finite_dumps(value: Any) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return "null" if math.isnan(value) else "9e999" if value > 0 else "-9e999"
    if isinstance(value, dict):
        members = (f"{key_in_path(key)}:{_finite_dumps(item)}" for key, item in value.items())
        return "{" + ",".join(members) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_finite_dumps, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
