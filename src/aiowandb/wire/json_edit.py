"""Changes single keys of an object in JSON text, and leaves the rest of the text as it is.

W&B replaces a config or a summary completely, so that a change of one key sends all the others
back. Decoding and encoding is not lossless: floats may have more digits than a double, `1e400` is
not a double at all, a key may be there twice. So whatever was not changed is sent as the same text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from aiowandb.errors import ServerError
from aiowandb.wire import lenient

# A token of JSON, or a bare word that JSON does not have.
_TOKEN = re.compile(r"""\s*("[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{},:]|[^\s\[\]{},:"]+)""", re.DOTALL)
# Up to the next bracket that is in no string. Possessive: long lists need no memory to go back.
_TO_BRACKET = re.compile(
    r"""[^"\[\]{}]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"[^"\[\]{}]*+)*+[\[\]{}]""", re.DOTALL
)
# More levels than are ever used, and few enough for recursive functions.
_MAX_LEVELS = 300
# Stands for a value that is not there.
NOTHING: Any = object()


class Member(NamedTuple):
    """A key and value of an object, with the texts of both."""

    key: str
    label: str
    text: str


# Makes the text of a changed value from the stored text (None if there is none), the value as it
# was read (or NOTHING), and the new value.
Rewrite = Callable[[str | None, Any, Any], str]


def read_object(text: str | None, levels: int = 1) -> dict[str, Any]:
    """The object in this text. Members that cannot be decoded are kept as text.

    With more `levels`, that applies to members of members too.

    >>> read_object('{"a": 1, "b": {"c": undefined}}')
    {'a': 1, 'b': '{"c": undefined}'}
    """
    value = _read(text, levels) if text else {}
    return value if isinstance(value, dict) else {}


def readable_object(text: str | None, levels: int = 1) -> dict[str, Any]:
    """The same, and empty if the text is no JSON.

    >>> readable_object('{"a": 1, '), readable_object('{"a": 1}')
    ({}, {'a': 1})
    """
    try:
        return read_object(text, levels)
    except ServerError:
        return {}


def changed_object(
    text: str | None,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    rewrite: Rewrite | None = None,
) -> str:
    """The text of a stored object, with the differences between `before` and `after` applied.

    `before` is what was read, and need not be what is stored now: other keys stay.

    >>> changed_object('{"a": 0.1000000000000000055, "b": 2}', {"a": 0.1, "b": 2}, {"a": 0.1})
    '{"a":0.1000000000000000055}'
    """
    stored = _stored_members(text)
    effective = {member.key: member.text for member in stored}
    wanted = {_json_key(key): value for key, value in after.items()}
    touched = {
        key: value
        for key, value in wanted.items()
        if key not in before or not alike(before[key], value)
    }
    removed = before.keys() - wanted.keys()
    written: dict[str, str] = {}
    for key, value in touched.items():
        before_it = before.get(key, NOTHING)
        written[key] = (rewrite or rewritten)(effective.get(key), before_it, value)
    found = []
    for member in stored:
        if member.key in removed:
            continue
        if member.key not in touched:
            found.append(f"{member.label}:{member.text}")
        elif member.key in written:
            found.append(f"{member.label}:{written.pop(member.key)}")
    found += [f"{lenient.dumps(key)}:{value}" for key, value in written.items()]
    return "{" + ",".join(found) + "}"


def rewritten(text: str | None, before: Any, after: Any) -> str:
    """The text of a changed value; unchanged parts of it keep their text."""
    if text is None:
        return lenient.dumps(after)
    if isinstance(after, dict) and isinstance(before, dict) and members(text) is not None:
        return changed_object(text, before, after)
    if isinstance(after, list) and isinstance(before, list):
        items = elements(text)
        if items is not None:
            return _rewritten_list(items, after)
    return lenient.dumps(after)


def alike(one: Any, other: Any) -> bool:
    """Equality for which NaN equals NaN, 1 differs from True, and the order of keys is ignored."""
    return one is other or _canonical(one) == _canonical(other)


def members(text: str) -> list[Member] | None:
    """The members of the object in this text, in their order, or None if it is not an object."""
    spans = _outermost(text, "{}")
    if spans is None:
        return None
    found = []
    for first, colon, end in spans:
        label = text[first:colon].strip()
        if colon < 0 or not label.startswith('"'):
            return None
        try:
            key = lenient.loads(label)
        except ServerError:
            return None
        found.append(Member(key, label, text[colon + 1 : end].strip()))
    return found


def elements(text: str) -> list[str] | None:
    """The texts of the elements of the array in this text, or None if it is not an array."""
    spans = _outermost(text, "[]")
    if spans is None:
        return None
    return [text[first:end] for first, _, end in spans]


def _read(text: str, levels: int) -> Any:
    try:
        if not _is_deep(text):
            return lenient.loads(text)
    except ServerError:
        found = members(text)
        if found is None:
            raise
    else:
        found = members(text) or []
    return {member.key: _read_member(member.text, levels - 1) for member in found}


def _read_member(text: str, levels: int) -> Any:
    if levels and members(text):
        return _read(text, levels)
    try:
        return text if _is_deep(text) else lenient.loads(text)
    except ServerError:
        return text


def _is_deep(text: str) -> bool:
    if text.count("[") + text.count("{") <= _MAX_LEVELS:
        return False
    levels = place = 0
    while levels <= _MAX_LEVELS and (bracket := _TO_BRACKET.match(text, place)):
        place = bracket.end()
        levels += 1 if text[place - 1] in "[{" else -1
    return levels > _MAX_LEVELS


def _stored_members(text: str | None) -> list[Member]:
    found = members(text or "{}")
    if found is None:
        if lenient.loads(text or "{}") is None:
            return []
        raise ServerError(f"W&B stores something else than an object here: {text:.100}")
    return found


def _rewritten_list(items: list[str], after: list[Any]) -> str:
    read = [_read_member(item, 0) for item in items]
    same = {_canonical(value): item for value, item in zip(read[::-1], items[::-1], strict=True)}
    found = []
    for index, value in enumerate(after):
        if index < len(items) and alike(read[index], value):
            found.append(items[index])
        elif (item := same.get(_canonical(value))) is not None:
            found.append(item)
        elif index < len(items):
            found.append(rewritten(items[index], read[index], value))
        else:
            found.append(lenient.dumps(value))
    return "[" + ",".join(found) + "]"


def _outermost(text: str, brackets: str) -> list[tuple[int, int, int]] | None:
    """The items between the outermost brackets: the start, the colon and the end of each."""
    opening = _TOKEN.match(text)
    if opening is None or opening[1] != brackets[0]:
        return None
    pieces: list[tuple[int, int, int]] = []
    first, colon, end = -1, -1, -1
    is_closed = False
    for start, stop in _values(text, opening.end()):
        what = text[start]
        if is_closed:
            return None
        if what in ",]}":
            if first >= 0:
                pieces.append((first, colon, end))
            elif what == "," or pieces:
                return None
            first = colon = -1
            if what != ",":
                if what != brackets[1]:
                    return None
                is_closed = True
        elif what == ":" and colon < 0 <= first:
            colon = start
        else:
            first, end = (start if first < 0 else first), stop
    return pieces if is_closed else None


def _values(text: str, place: int) -> Iterator[tuple[int, int]]:
    """The start and end of each token from there on, where a nested value counts as one."""
    while found := _TOKEN.match(text, place):
        start, place = found.start(1), found.end()
        levels = int(text[start] in "[{")
        while levels and (bracket := _TO_BRACKET.match(text, place)):
            place = bracket.end()
            levels += 1 if text[place - 1] in "[{" else -1
        yield start, place
        if levels:
            return  # it does not end


def _json_key(key: Any) -> str:
    if isinstance(key, str):
        return key
    (named,) = lenient.loads(lenient.dumps({key: None}))
    return str(named)


def _canonical(value: Any) -> str:
    return lenient.dumps(value, sort_keys=True)
