"""Dotted names: how W&B speaks of nested values in filters, histories and tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any


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
