"""Dotted names: how W&B speaks of nested values in filters, histories and tables."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

# A dot that leads into a nest, and not one of a key itself.
_DOT = re.compile(r"(?<!\\)\.")
_GLOB = frozenset("*?[")
# What rows have beside what was logged, whether W&B counts it among a run's keys or not.
OWN_KEYS = ("_step", "_runtime", "_timestamp")


def flattened(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    r"""The leaves under their dotted names; a media object (one with `_type`) is a leaf.

    Where a key with a literal dot meets another one of the same name, its dot is
    written `\.`, so that neither is lost.

    >>> flattened({"loss": 1, "val": {"acc": 0.5}})
    {'loss': 1, 'val.acc': 0.5}
    >>> flattened({"val.acc": 1, "val": {"acc": 0.5}})
    {'val\\.acc': 1, 'val.acc': 0.5}
    """
    found: dict[str, Any] = {}
    if _flatten(values, prefix, found) == len(found):
        return found
    leaves = list(_leaves(values, ()))
    names = Counter(prefix + ".".join(path) for path, _ in leaves)
    return {_name(path, prefix, names): value for path, value in leaves}


def find(values: dict[str, Any], name: str) -> tuple[dict[str, Any], str] | None:
    """Where the value of a name is: the dict that holds it and its key there.

    A literal key with dots goes before a nested one.

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


def names_meant(keys: Sequence[str], names: Collection[str]) -> list[list[str]]:
    """For each key or glob, which of the names it means.

    A key means the name that is the same, and those of the values that are nested in it.

    >>> names_meant(["val", "l*"], ["loss", "val.acc", "val.top.1", "value"])
    [['val.acc', 'val.top.1'], ['loss']]
    """
    below: dict[str, list[str]] = {}
    for name in names:
        for nest in nests_of(name):
            below.setdefault(nest, []).append(name)
    known = frozenset(names)
    return [
        [name for name in names if is_meant(name, [key])]
        if is_glob(key) and key not in known
        else [*({key} & known), *below.get(key, ())]
        for key in keys
    ]


def unknown_keys(keys: Sequence[str], names: Collection[str]) -> list[str]:
    """Those of the keys and globs that mean none of the names.

    >>> unknown_keys(["val", "l*", "los"], ["loss", "val.acc"])
    ['los']
    """
    groups = zip(keys, names_meant(keys, names), strict=True)
    return [key for key, meant in groups if not meant]


def is_meant(name: str, keys: Sequence[str]) -> bool:
    """Whether one of the keys or globs means the name: it itself, or what it is nested in."""
    for key in keys:
        if name == key or name.startswith(f"{key}."):
            return True
        if is_glob(key) and any(fnmatchcase(each, key) for each in (name, *nests_of(name))):
            return True
    return False


def is_glob(key: str) -> bool:
    """Whether the key may stand for several."""
    return not _GLOB.isdisjoint(key)


def nests_of(name: str) -> list[str]:
    r"""The keys that the value of this name is nested in, outermost first.

    >>> nests_of(r"val.top\.1.acc")
    ['val', 'val.top\\.1']
    """
    return [name[: dot.start()] for dot in _DOT.finditer(name)] if "." in name else []


def split_name(name: str) -> list[str]:
    r"""The keys of which the name is made.

    >>> split_name(r"val.top\.1")
    ['val', 'top.1']
    """
    return [key.replace(r"\.", ".") for key in _DOT.split(name)]


def _flatten(values: Mapping[str, Any], prefix: str, found: dict[str, Any]) -> int:
    """Add the leaves, and say how many there are: more than were added if names clash."""
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
