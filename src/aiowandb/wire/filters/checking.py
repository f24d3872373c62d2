"""Filters and orders held against what W&B understands, before anything is sent.

A filter that W&B does not understand may be answered by an internal error, which a
client would take for an accident and try again.
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
# What a name of a key follows.
_SECTIONS = ("config", "summary", "summary_metrics")
# W&B may know more of them.
_STATES = (
    *("running", "finished", "crashed", "failed", "killed"),
    *("pending", "preempting", "preempted"),
)
_GROUPS = ("$and", "$or", "$nor")
_COMPARABLE = ((int, float, str), "a number, text or a time")
_LIST = ((list,), "a list")
# What the operators behind a name take, in types and in words.
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
Place = tuple[str, ...]


def checked(filters: Mapping[str, Any]) -> dict[str, Any]:
    """The filter as W&B is sent it, or a `UsageError` that says what is wrong and where.

    >>> checked({"$or": [{"summary.acc": {"$gt": 0.9}}, {"config.lr": 0.1}]})
    {'$or': [{'summary_metrics.acc': {'$gt': 0.9}}, {'config.lr': 0.1}]}
    """
    try:
        sent = _document(filters, ("$",))
        orjson.dumps(sent)
    except (RecursionError, orjson.JSONEncodeError) as error:
        raise UsageError(f"The filter cannot be said in JSON: {error}.") from error
    return sent


def checked_order(order: str | None) -> str:
    """The order as W&B is sent it; none means the newest runs first.

    >>> checked_order("-config.lr")
    '-config.lr.value'
    """
    if not order:
        return DEFAULT_ORDER
    sign = order[0] if order[0] in "+-" else ""
    name = parse_name(order.removeprefix(sign))
    if name.column in _SECTIONS and not name.keys:
        raise UsageError(
            f"{order!r} names no key to order by: write it like {sign}{name.column}.loss."
        )
    return sign + name.in_order


def _document(filters: Any, place: Place) -> dict[str, Any]:
    if not isinstance(filters, Mapping):
        raise _refusal(place, f'a filter is like {{"state": "finished"}}, not {filters!r}')
    sent: dict[str, Any] = {}
    for key, operand in filters.items():
        name = key if str(key).startswith("$") else _sent_name(key, place)
        if name == "state":
            _check_states(operand)
        if name in sent:
            raise _refusal(place, f"{name} is asked for twice: use $and")
        sent[name] = _member(key, operand, place)
    return sent


def _member(key: str, operand: Any, place: Place) -> Any:
    if key in _GROUPS:
        if not isinstance(operand, list | tuple):
            raise _refusal((*place, key), f"{key} takes a list of filters, not {operand!r}")
        return [_document(part, (*place, f"{key}[{n}]")) for n, part in enumerate(operand)]
    if key == "$not":
        return _document(operand, (*place, key))
    if key.startswith("$"):
        raise _unknown(key, (*_GROUPS, "$not"), place)
    return _condition(operand, (*place, key))


def _check_states(operand: Any) -> None:
    """Warn of states that no run has, which finds nothing."""
    values = list(operand.values()) if isinstance(operand, Mapping) else [operand]
    for value in values:
        for word in value if isinstance(value, list | tuple | set) else [value]:
            hint = did_you_mean(word, _STATES) if word not in _STATES else ""
            if hint and not _is_pattern(operand):
                warn(f"No run has the state {word!r}{hint}")


def _is_pattern(operand: Any) -> bool:
    return isinstance(operand, Mapping) and "$regex" in operand


def _sent_name(key: Any, place: Place) -> str:
    if not isinstance(key, str):
        raise _refusal(place, f"a name is text, not {key!r}")
    try:
        return parse_name(key).in_filter
    except UsageError as error:
        raise _refusal(place, str(error)) from None


def _condition(operand: Any, place: Place) -> Any:
    if not _has_operators(operand):
        return _plain(operand, place)
    return {operator: _operand(operator, value, place) for operator, value in operand.items()}


def _operand(operator: str, value: Any, place: Place) -> Any:
    if operator not in _CONDITIONS:
        raise _unknown(str(operator), _CONDITIONS, place)
    if operator == "$not" and _has_operators(value):
        return _condition(value, place)
    sent = _plain(value, place)
    kinds, takes = _CONDITIONS[operator]
    is_truth_value = isinstance(sent, bool) and int in kinds  # to Python, True is a number
    if is_truth_value or not isinstance(sent, kinds):
        raise _refusal(place, f"{operator} takes {takes}, not {value!r}")
    if operator == "$regex":
        _check_pattern(str(sent), place)
    return sent


def _has_operators(operand: Any) -> bool:
    return isinstance(operand, Mapping) and any(str(key).startswith("$") for key in operand)


def _plain(value: Any, place: Place) -> Any:
    """The value as JSON has it. A time without a zone is UTC, as W&B's own are."""
    if callable(python := getattr(value, "tolist", None)):  # numpy's and torch's
        value = python()
    match value:
        case float() if not math.isfinite(value):
            raise _refusal(place, f"JSON has no {value}, and W&B compares it with nothing")
        case None | bool() | int() | float() | str():
            return value
        case datetime():
            moment = value.replace(tzinfo=value.tzinfo or UTC).astimezone(UTC)
            return moment.isoformat().replace("+00:00", "Z")
        case date():
            return value.isoformat()
        case list() | tuple():
            return [_plain(item, place) for item in value]
        case set() | frozenset():
            return [_plain(item, place) for item in sorted(value, key=repr)]
        case Mapping():
            return {str(key): _plain(item, place) for key, item in value.items()}
    raise _refusal(place, f"a value of type {type(value).__name__} cannot be said in JSON")


def _check_pattern(pattern: str, place: Place) -> None:
    # Arrow's engine is W&B's, RE2. Python's would pass look-aheads and refuse \pL.
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        pc.call_function(
            "match_substring_regex", [pa.scalar("")], pc.MatchSubstringOptions(pattern)
        )
    except pa.ArrowInvalid as error:
        raise _refusal(place, f"{pattern!r} is no pattern that W&B knows: {error}") from None


def _unknown(operator: str, known: Collection[str], place: Place) -> UsageError:
    close = difflib.get_close_matches(operator, known, 1)
    hint = f"did you mean {close[0]}?" if close else f"here are {' '.join(known)}."
    return _refusal(place, f"there is no operator {operator}; {hint}")


def _refusal(place: Place, what: str) -> UsageError:
    return UsageError(f"{'.'.join(place)}: {what}{'' if what[-1] in '.?' else '.'}")
