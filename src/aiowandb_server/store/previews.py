"""Configs and summaries for display: without wrappers, and with long texts cut off."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiowandb_server.store.metering import charge

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAX_DEPTH = 30
_LONGEST_NAME = 300
# A value or a key in the answer: twice, and as JSON.
_SIZE_OF_ITEM = 250


def unwrapped(config: dict[str, Any]) -> dict[str, Any]:
    """The config as the user set it; the SDK wraps each value and adds an entry of its own."""
    return {
        key: entry["value"] if isinstance(entry, dict) and "value" in entry else entry
        for key, entry in config.items()
        if key != "_wandb"
    }


def shortened(value: Any, longest: int) -> Any:
    """The value with long texts and lists cut off and their lengths added.

    Counts as memory of the request, until it is answered.
    """
    charge(_SIZE_OF_ITEM)
    if isinstance(value, str) and len(value) > longest:
        return f"{value[:longest]}… ({len(value)} characters)"
    if isinstance(value, dict):
        return {shortened(key, longest): shortened(item, longest) for key, item in value.items()}
    if isinstance(value, list):
        items = [shortened(item, longest) for item in value[:longest]]
        return [*items, f"… ({len(value)} items)"] if len(value) > longest else items
    return value


def find_value(tree: dict[str, Any], name: str) -> Any:
    """The value with this dotted name, whose keys may contain dots; None if it does not exist."""
    if name in tree:
        return tree[name]
    end = -1
    while (end := name.find(".", end + 1)) >= 0:
        inner = tree.get(name[:end])
        if isinstance(inner, dict) and (found := find_value(inner, name[end + 1 :])) is not None:
            return found
    return None


def column_names(prefix: str, tree: dict[str, Any], search: str, limit: int) -> list[str]:
    """Dotted names of the values in `tree` that contain `search`, ignoring case."""
    wanted = search.lower()
    found: list[str] = []
    for name in _names(prefix, tree, 0):
        if wanted in name.lower() and len(name) <= _LONGEST_NAME:
            found.append(name)
            if len(found) == limit:
                break
    return found


def _names(prefix: str, tree: dict[str, Any], depth: int) -> Iterator[str]:
    if len(prefix) > _LONGEST_NAME:
        return  # each name would repeat it
    for key, value in tree.items():
        if isinstance(value, dict) and value and "_type" not in value and depth < _MAX_DEPTH:
            yield from _names(f"{prefix}.{key}", value, depth + 1)
        elif key != "_wandb":
            yield f"{prefix}.{key}"
