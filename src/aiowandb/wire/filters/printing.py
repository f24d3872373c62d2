"""A built filter as the text that `parsing` reads back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_SIGNS = {"$eq": "==", "$ne": "!=", "$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
_WORDS = {"$in": "in", "$regex": "matches"}


def expression(document: Mapping[str, Any]) -> str:
    """The filter in words.

    >>> expression({"$nor": [{"tag": {"$eq": "old"}}, {"config.lr": {"$gt": 1}}]})
    'not (tag == "old" or config.lr > 1)'
    """
    ((key, operand),) = document.items()
    match key:
        case "$or":
            return " or ".join(map(expression, operand))
        case "$and":
            return " and ".join(_enclosed(part, "$or") for part in operand)
        case "$nor" if len(operand) == 1:
            return f"not {_enclosed(operand[0], '$and')}"
        case "$nor":
            return f"not ({expression({'$or': operand})})"
    ((operator, value),) = operand.items()
    if operator == "$exists":
        return f"{key} exists"
    return f"{key} {_SIGNS.get(operator) or _WORDS[operator]} {_literal(value)}"


def _enclosed(part: Mapping[str, Any], looser: str) -> str:
    return f"({expression(part)})" if looser in part else expression(part)


def _literal(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_literal, value))}]"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return json.dumps(value)
