"""Checks filters and orders before they are sent.

W&B may answer a filter that it does not understand with an internal error, which would be
retried.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Mapping
from datetime import UTC, date, datetime
from typing import Any

import orjson

from aiowandb.errors import UsageError
from aiowandb.suggestions import did_you_mean
from aiowandb.user_warnings import warn
from aiowandb.wire.filters.names import parse_name

DEFAULT_ORDER = "-created_at"
# The columns that have keys.
_SECTIONS = ("config", "summary", "summary_metrics")
# W&B may know more of them.
_STATES = (
    *("running", "finished", "crashed", "failed", "killed"),
    *("pending", "preempting", "preempted"),
)
_GROUPS = ("$and", "$or", "$nor")
_COMPARABLE = ((int, float, str), "a number, text or a time")
_LIST = ((list,), "a list")
# The operands of the operators, as types and in words.
_CONDITIONS: Mapping[str, tuple[tuple[type, ...], str]] = {
    "$eq": ((object,), "a value"),
    "$ne": ((object,), "a value"),
    "$gt": _COMPARABLE,
    "$gte": _COMPARABLE,
    "$lt": _COMPARABLE,
    "$lte": _COMPARABLE,
    "$in": _LIST,
    "$nin": _LIST,
    "$exists": ((bool,), "True or False"),
    "$regex": ((str,), "a pattern"),
    "$not": ((), 'operators, like {"$gt": 1}'),
}
# Where in a filter something is, for error messages.
KeyPath = tuple[str, ...]


def check_filters(filters: Mapping[str, Any]) -> dict[str, Any]:
    """The filter as it is sent, or a `UsageError` that says what is wrong and where.

    >>> check_filters({"$or": [{"summary.acc": {"$gt": 0.9}}, {"config.lr": 0.1}]})
    {'$or': [{'summary_metrics.acc': {'$gt': 0.9}}, {'config.lr': 0.1}]}
    """
    try:
        sent = _document(filters, ("$",))
        orjson.dumps(sent)
    except (RecursionError, orjson.JSONEncodeError) as error:
        raise UsageError(f"The filter cannot be encoded as JSON: {error}.") from error
    return sent


def check_order(order: str | None) -> str:
    """The order as it is sent; by default the newest runs come first.

    >>> check_order("-config.lr")
    '-config.lr.value'
    """
    if not order:
        return DEFAULT_ORDER
    sign = order[0] if order[0] in "+-" else ""
    name = parse_name(order.removeprefix(sign))
    if name.column in _SECTIONS and not name.keys:
        raise UsageError(
            f"{order!r} has no key to sort by: write it like {sign}{name.column}.loss."
        )
    return sign + name.in_order


def _document(filters: Any, path: KeyPath) -> dict[str, Any]:
    if not isinstance(filters, Mapping):
        raise _refusal(path, f'a filter is like {{"state": "finished"}}, not {filters!r}')
    sent: dict[str, Any] = {}
    for key, operand in filters.items():
        name = key if str(key).startswith("$") else _sent_name(key, path)
        if name == "state":
            _check_states(operand)
        if name in sent:
            raise _refusal(path, f"{name} is there twice: use $and")
        sent[name] = _member(key, operand, path)
    return sent


def _member(key: str, operand: Any, path: KeyPath) -> Any:
    if key in _GROUPS:
        if not isinstance(operand, list | tuple):
            raise _refusal((*path, key), f"{key} takes a list of filters, not {operand!r}")
        if not operand and key == "$or":  # no run matches it, as all match an empty $and
            raise _refusal((*path, key), f"{key} takes at least one filter")
        return [_document(part, (*path, f"{key}[{n}]")) for n, part in enumerate(operand)]
    if key == "$not":
        return _document(operand, (*path, key))
    if key.startswith("$"):
        raise _unknown(key, (*_GROUPS, "$not"), path)
    return _condition(operand, (*path, key))


def _check_states(operand: Any) -> None:
    """Warn about states that no run can have."""
    values = list(operand.values()) if isinstance(operand, Mapping) else [operand]
    for value in values:
        for word in value if isinstance(value, list | tuple | set) else [value]:
            hint = did_you_mean(word, _STATES) if word not in _STATES else ""
            if hint and not _is_pattern(operand):
                warn(f"No run has the state {word!r}{hint}")


def _is_pattern(operand: Any) -> bool:
    return isinstance(operand, Mapping) and "$regex" in operand


def _sent_name(key: Any, path: KeyPath) -> str:
    if not isinstance(key, str):
        raise _refusal(path, f"a name must be a string, not {key!r}")
    try:
        return parse_name(key).in_filter
    except UsageError as error:
        raise _refusal(path, str(error)) from None


def _condition(operand: Any, path: KeyPath) -> Any:
    if not _has_operators(operand):
        _check_spelling(operand, path)
        return _plain(operand, path)
    return {operator: _operand(operator, value, path) for operator, value in operand.items()}


def _operand(operator: str, value: Any, path: KeyPath) -> Any:
    if operator not in _CONDITIONS:
        raise _unknown(str(operator), _CONDITIONS, path)
    if operator == "$not" and _has_operators(value):
        return _condition(value, path)
    sent = _plain(value, path)
    kinds, takes = _CONDITIONS[operator]
    is_truth_value = isinstance(sent, bool) and int in kinds  # to Python, True is a number
    if is_truth_value or not isinstance(sent, kinds):
        raise _refusal(path, f"{operator} takes {takes}, not {value!r}")
    if operator == "$regex":
        _check_pattern(str(sent), path)
    return sent


def _check_spelling(operand: Any, path: KeyPath) -> None:
    """Warn about operators without their dollar sign, which make a value to compare with."""
    names = list(operand) if isinstance(operand, Mapping) else []
    if names and all(f"${name}" in _CONDITIONS for name in names):
        where = ".".join(path)
        warn(f"{where} is compared with the value {operand!r}; did you mean '${names[0]}'?")


def _has_operators(operand: Any) -> bool:
    return isinstance(operand, Mapping) and any(str(key).startswith("$") for key in operand)


def _plain(value: Any, path: KeyPath) -> Any:
    """The value as JSON. A time without a zone is in UTC, as W&B's own are."""
    if callable(python := getattr(value, "tolist", None)):  # numpy's and torch's
        value = python()
    match value:
        case float() if not math.isfinite(value):
            raise _refusal(path, f"JSON has no {value}, so W&B cannot compare it")
        case None | bool() | int() | float() | str():
            return value
        case datetime():
            moment = value.replace(tzinfo=value.tzinfo or UTC).astimezone(UTC)
            return moment.isoformat().replace("+00:00", "Z")
        case date():
            return value.isoformat()
        case list() | tuple():
            return [_plain(item, path) for item in value]
        case set() | frozenset():
            return [_plain(item, path) for item in sorted(value, key=repr)]
        case Mapping():
            return {str(key): _plain(item, path) for key, item in value.items()}
    raise _refusal(path, f"a value of type {type(value).__name__} cannot be encoded as JSON")


def _check_pattern(pattern: str, path: KeyPath) -> None:
    # Arrow uses RE2, as W&B does. Python's engine accepts look-aheads and rejects \pL.
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        pc.call_function(
            "match_substring_regex", [pa.scalar("")], pc.MatchSubstringOptions(pattern)
        )
    except pa.ArrowInvalid as error:
        raise _refusal(path, f"{pattern!r} is not a pattern that W&B accepts: {error}") from None


def _unknown(operator: str, known: Collection[str], path: KeyPath) -> UsageError:
    close = difflib.get_close_matches(operator, known, 1)
    hint = f"did you mean {close[0]}?" if close else f"here are {' '.join(known)}."
    return _refusal(path, f"there is no operator {operator}; {hint}")


def _refusal(path: KeyPath, what: str) -> UsageError:
    return UsageError(f"{'.'.join(path)}: {what}{'' if what[-1] in '.?' else '.'}")
