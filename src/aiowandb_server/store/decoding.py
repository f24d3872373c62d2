"""Decodes the texts of many rows at once, to columns of values.

Most rows of a run have the keys of its first one. They are decoded together, as objects with these
attributes and not as dictionaries, in half of the time.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from aiowandb_server.store import json_text
from aiowandb_server.store.metering import count_marks, held, json_weight
from aiowandb_server.store.rows import (
    MISSING,
    columns_of,
    decode_row,
    is_nested,
    narrow_parts,
    types_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

# Keys in another order than that of the first row are searched for, one by one.
_MAX_KEYS = 256
# Decoders are cached, with the names of their keys.
_MAX_NAMES = 20_000


class Decoded(NamedTuple):
    """The values of rows by key, like those of `columns_of`, and their types."""

    columns: Mapping[str, Sequence[Any]]
    types: Mapping[str, set[type]]
    rows: int


def decoded(texts: Sequence[str]) -> Iterator[Decoded]:
    """The values of stored lines, in several parts if most rows lack most of the keys.

    They count as memory of the request until the next part is taken.
    """
    joined = f"[{','.join(texts)}]"
    keys = tuple(json_text.loads_object(texts[0]) or ())
    # Each text has a bracket, and the list. Those in strings count, too.
    is_flat = joined.count("[") + joined.count("{") == len(texts) + 1
    marks = len(texts) * len(keys) if is_flat else count_marks(joined)
    with held(json_weight(len(joined), marks)):
        found = _of_same_keys(joined, keys)
        if found is not None:
            yield found
            return
    marks = count_marks(joined) if is_flat else marks
    with held(json_weight(len(joined), marks)):
        for part in narrow_parts([decode_row(text) for text in texts]):
            columns = columns_of(part)
            yield Decoded(columns, types_of(columns), len(part))


def _of_same_keys(joined: str, keys: tuple[str, ...]) -> Decoded | None:
    """The values of rows that have no other keys; None if they do, or have nested objects.

    Each text is an object of its own, so that all of them joined are a list of these objects.
    """
    is_usual = 0 < len(keys) <= _MAX_KEYS and sum(map(len, keys)) <= _MAX_NAMES
    decode = _decoder(keys) if is_usual else None
    if decode is None:
        return None
    try:
        rows = decode(joined)
    except (msgspec.MsgspecError, UnicodeError, RecursionError, ValueError):
        return None  # for example NaN, which the other way of decoding understands
    values: Iterator[Sequence[Any]] = zip(*map(msgspec.structs.astuple, rows), strict=True)
    columns = dict(zip(keys, values, strict=True))
    types = types_of(columns)
    if any(dict in types[key] and any(map(is_nested, columns[key])) for key in keys):
        return None
    return Decoded(columns, types, len(rows))


@lru_cache(64)
def _decoder(keys: tuple[str, ...]) -> Any:
    """The function that decodes a list of rows with these keys, or None if one cannot be a name."""
    fields: list[tuple[str, Any, Any]] = [
        (f"value_{place}", Any, msgspec.field(name=key, default=MISSING))
        for place, key in enumerate(keys)
    ]
    try:
        row: Any = msgspec.defstruct("Row", fields, forbid_unknown_fields=True, gc=False)
        return msgspec.json.Decoder(list[row]).decode
    except (ValueError, UnicodeError):
        return None
