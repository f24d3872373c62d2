"""Dotted names: how W&B speaks of nested values in filters, histories and tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def flattened(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """The leaves under their dotted names; a media object (one with `_type`) is a leaf.

    >>> list(flattened({"loss": 1, "val": {"acc": 0.5}}))
    [('loss', 1), ('val.acc', 0.5)]
    """
    for key, value in values.items():
        if isinstance(value, dict) and value and "_type" not in value:
            yield from flattened(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


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
