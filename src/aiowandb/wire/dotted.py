"""Dotted names for nested values, as W&B uses them in filters, histories and tables."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from aiowandb.errors import ServerError

# A dot between keys, not an escaped one in a key.
_DOT = re.compile(r"(?<!\\)\.")
_GLOB = frozenset("*?[")
# Keys that every row has in addition to what was logged.
OWN_KEYS = ("_step", "_runtime", "_timestamp")


def flattened(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    r"""The leaves under their dotted names; a media object (one with `_type`) is a leaf.

    If a key with a literal dot has the same name as a nested one, its dot is written `\.`.

    >>> flattened({"loss": 1, "val": {"acc": 0.5}})
    {'loss': 1, 'val.acc': 0.5}
    >>> flattened({"val.acc": 1, "val": {"acc": 0.5}})
    {'val\\.acc': 1, 'val.acc': 0.5}
    """
    found: dict[str, Any] = {}
    try:
        if _flatten(values, prefix, found) == len(found):
            return found
        leaves = list(_leaves(values, ()))
    except RecursionError:  # since Python 3.12, deeper JSON than that is decoded
        raise ServerError("A value is nested too deeply to be read.") from None
    names = Counter(prefix + ".".join(path) for path, _ in leaves)
    return {_name(path, prefix, names): value for path, value in leaves}


def find(values: dict[str, Any], name: str) -> tuple[dict[str, Any], str] | None:
    """The dict that has the value of this name, and its key there.

    A literal key with dots takes precedence over a nested one.

    >>> find({"val": {"acc": 0.5}}, "val.acc")
    ({'acc': 0.5}, 'acc')
    """
    if name in values:
        return values, name
    head, dot, tail = name.partition(".")
    while dot:
        inner = values.get(head)
        if isinstance(inner, dict) and (found := find(inner, tail)):
            return found
        more, dot, tail = tail.partition(".")
        head = f"{head}.{more}"
    return None


def matching_names(keys: Sequence[str], names: Collection[str]) -> list[list[str]]:
    """For each key or glob, the names that it matches.

    A key matches the same name, and those of the values nested in it.

    >>> matching_names(["val", "l*"], ["loss", "val.acc", "val.top.1", "value"])
    [['val.acc', 'val.top.1'], ['loss']]
    """
    below: dict[str, list[str]] = {}
    for name in names:
        for parent in parent_keys(name):
            below.setdefault(parent, []).append(name)
    known = frozenset(names)
    return [
        [name for name in names if matches_any(name, [key])]
        if is_glob(key) and key not in known
        else [*({key} & known), *below.get(key, ())]
        for key in keys
    ]


def unknown_keys(keys: Sequence[str], names: Collection[str]) -> list[str]:
    """The keys and globs that match none of the names.

    >>> unknown_keys(["val", "l*", "los"], ["loss", "val.acc"])
    ['los']
    """
    groups = zip(keys, matching_names(keys, names), strict=True)
    return [key for key, matching in groups if not matching]


def matches_any(name: str, keys: Sequence[str]) -> bool:
    """Whether one of the keys or globs matches the name, or a key that it is nested in."""
    for key in keys:
        if name == key or name.startswith(f"{key}."):
            return True
        if is_glob(key) and any(fnmatchcase(each, key) for each in (name, *parent_keys(name))):
            return True
    return False


def is_glob(key: str) -> bool:
    """Whether the key is a pattern."""
    return not _GLOB.isdisjoint(key)


def parent_keys(name: str) -> list[str]:
    r"""The keys that the value of this name is nested in, outermost first.

    >>> parent_keys(r"val.top\.1.acc")
    ['val', 'val.top\\.1']
    """
    return [name[: dot.start()] for dot in _DOT.finditer(name)] if "." in name else []


def split_name(name: str) -> list[str]:
    r"""The keys in the name.

    >>> split_name(r"val.top\.1")
    ['val', 'top.1']
    """
    return [key.replace(r"\.", ".") for key in _DOT.split(name)]


def _flatten(values: Mapping[str, Any], prefix: str, found: dict[str, Any]) -> int:
    """Add the leaves, and return how many there are: more than were added if names clash."""
    count = len(values)
    for key, value in values.items():
        if isinstance(value, dict) and value and "_type" not in value:
            count += _flatten(value, f"{prefix}{key}.", found) - 1
        else:
            found[prefix + key] = value
    return count


def _leaves(
    values: Mapping[str, Any], parents: tuple[str, ...]
) -> Iterable[tuple[tuple[str, ...], Any]]:
    for key, value in values.items():
        if isinstance(value, dict) and value and "_type" not in value:
            yield from _leaves(value, (*parents, key))
        else:
            yield (*parents, key), value


def _name(path: tuple[str, ...], prefix: str, names: Mapping[str, int]) -> str:
    name = prefix + ".".join(path)
    if names[name] > 1:
        return prefix + ".".join(key.replace(".", r"\.") for key in path)
    return name
