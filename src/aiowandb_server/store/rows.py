"""Parses history lines: the step, the values under dotted names, and their types."""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import suppress
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import msgspec

from aiowandb_server.store import json_text
from aiowandb_server.store.metering import charge, held

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

# Of a table of rows, with those that are empty: they take eight bytes each, several times.
MAX_CELLS = 1 << 21
# As Python's values and as Arrow's; a column has its types, too.
_SIZE_OF_CELL = 16
_SIZE_OF_COLUMN = 400
# Each name below a longer one repeats it, and counts as memory of the request: a row of a megabyte
# can have names of terabytes.
_LONG_PREFIX = 1_000

# Strings that W&B's clients may write in place of numbers; in columns of numbers they are numbers.
NON_FINITE = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


class Missing:
    """The type of `MISSING`."""


# In place of a value under a key that a row does not have; None is a value.
MISSING = Missing()


class _Step(msgspec.Struct):
    step: Any = msgspec.field(name="_step", default=None)


_STEP = msgspec.json.Decoder(_Step)
_FLAT_ROW = msgspec.json.Decoder(dict[str, Any])


def steps_of(texts: Sequence[str], first: int) -> tuple[Sequence[str], list[int | None]]:
    """The texts of lines as they are stored, and their steps: by default the number of the line,
    of which that of the first is given, and None for lines that are not JSON objects."""
    if json_text.are_simple(texts):
        with suppress(msgspec.DecodeError, UnicodeEncodeError, RecursionError):
            steps = [row.step for row in map(_STEP.decode, texts)]
            if set(map(type, steps)) == {int} and max(map(abs, steps)) < 2**63:
                return texts, steps
    texts = [json_text.without_excess(text) for text in texts]
    return texts, [step_of(text, number) for number, text in enumerate(texts, first)]


def step_of(text: str, number: int) -> int | None:
    """The step of a line, by default its number; None if the line is not a JSON object."""
    if json_text.is_too_deep(text) or (
        json_text.has_endless_number(text) and json_text.loads_object(text) is None
    ):
        return None
    try:
        step = _named_step(text)
    except ValueError:
        return None
    return number if step is None else step


def with_step(text: str, step: int) -> str:
    """The text of a stored line as it is returned: encodable, and with a step."""
    text = json_text.without_halves(text)
    try:
        named = _named_step(text)
    except ValueError:
        return text
    if named == step:
        return text
    if (row := json_text.loads_object(text)) is not None and "_step" in row:
        return json_text.dumps(row | {"_step": step})
    before = text.rstrip()[:-1].rstrip()
    return f'{before}{"" if before.endswith("{") else ","}"_step":{step}}}'


def _named_step(text: str) -> int | None:
    """The step in a line, if it has a valid one. Raises ValueError if it is not a JSON object."""
    try:
        step = _STEP.decode(text).step
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        row = json_text.loads_object(text)
        if row is None:
            raise ValueError("this line is not a JSON object") from None
        step = row.get("_step")
    if isinstance(step, float) and step.is_integer():
        step = int(step)
    return step if type(step) is int and abs(step) < 2**63 else None


def decode_row(text: str) -> dict[str, Any]:
    """The values of a stored line under dotted names."""
    if json_text.is_flat(text):
        # Most rows: they need not be searched for nested objects.
        try:
            return _FLAT_ROW.decode(text)
        except (msgspec.MsgspecError, UnicodeError):
            return json_text.loads_object(text) or {}
    return flatten(json_text.loads_object(text) or {})


def flatten(row: dict[str, Any]) -> dict[str, Any]:
    r"""The row with nested objects under dotted names.

    Media (objects with a `_type`) and empty objects are not flattened. If the row has both a key
    `a.b` and a key `b` nested in `a`, the former is named `a\.b`.
    """
    if dict not in map(type, row.values()):
        return row
    leaves = list(_leaves("", row))
    flat = dict(leaves)
    if len(flat) == len(leaves):
        return flat
    times = Counter(name for name, _ in leaves)
    exact = _leaves("", row, dot=r"\.")
    return {
        unique if times[name] > 1 else name: value
        for (name, value), (unique, _) in zip(leaves, exact, strict=True)
    }


def columns_of(rows: Sequence[dict[str, Any]]) -> dict[str, Sequence[Any]]:
    """The values of flat rows by key, in the order of the rows; `MISSING` where a row has none."""
    keys: dict[str, Any] = dict(rows[0]) if rows else {}
    if len(keys) > 1 and set(map(len, rows)) == {len(keys)}:
        # All rows have all keys, which is usual, and takes a third of the time.
        with suppress(KeyError):
            return dict(zip(keys, zip(*map(itemgetter(*keys), rows), strict=True), strict=True))
    for row in rows:
        keys.update(row)
    return {key: [row.get(key, MISSING) for row in rows] for key in keys}


def narrow_parts(rows: Sequence[dict[str, Any]]) -> Iterator[Sequence[dict[str, Any]]]:
    """The flat rows in parts of at most `MAX_CELLS` cells: if each has keys of its own, the columns
    of 10,000 small rows take gigabytes.

    The columns of a part count as memory of the request until the next one is taken.
    """
    keys: set[str] = set()
    start = columns = 0
    for place, row in enumerate(rows):
        keys.update(row)
        if place > start and len(keys) * (place + 1 - start) > MAX_CELLS:
            with held(columns * (_SIZE_OF_COLUMN + _SIZE_OF_CELL * (place - start))):
                yield rows[start:place]
            keys, start = set(row), place
        columns = len(keys)
    with held(columns * (_SIZE_OF_COLUMN + _SIZE_OF_CELL * (len(rows) - start))):
        yield rows[start:]


def types_of(columns: Mapping[str, Sequence[Any]]) -> dict[str, set[type]]:
    """The types of the values of each column."""
    return {key: set(map(type, values)) for key, values in columns.items()}


def is_nested(value: object) -> bool:
    """Whether the value is a plain object, and not media."""
    return isinstance(value, dict) and bool(value) and "_type" not in value


def kind_of(value: object) -> str:
    """The type of a value in `historyKeys`."""
    match value:
        case None:
            return "nil"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list():
            return "list"
        case dict():
            kind = value.get("_type")
            return kind if isinstance(kind, str) else "map"
    return "string"


def _leaves(prefix: str, value: dict[str, Any], dot: str = ".") -> Iterator[tuple[str, Any]]:
    for key, inner in value.items():
        name = prefix + (key if dot == "." else key.replace(".", dot))
        if len(prefix) > _LONG_PREFIX:
            charge(sys.getsizeof(name))
        if is_nested(inner):
            yield from _leaves(f"{name}.", inner, dot)
        else:
            yield name, inner


def sample_positions(total: int, samples: int) -> list[int]:
    """The positions of the samples in `total` rows, ascending and distinct."""
    if samples >= total:
        return list(range(total))
    if samples <= 1:
        return [0] if samples == 1 and total else []
    return [index * (total - 1) // (samples - 1) for index in range(samples)]
