"""Filters that are built with Python's operators, and that editors can complete.

    (config("lr") > 0.1) & (tag == "best") | display_name.matches("^baseline")

is the same filter in MongoDB's style. As in all of W&B's filters, `name` is the id in a run's
URL and `display_name` is the name that people see. Times without a zone are UTC.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from aiowandb.arguments import FILTERS, Check, Unfit, checks, text
from aiowandb.errors import UsageError
from aiowandb.wire.filters.checking import check_filters
from aiowandb.wire.filters.names import parse_name


def _values(value: Any) -> Iterable[Any]:
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise Unfit(f": write [{value!r}]" if isinstance(value, str | int | float) else "")
    return value


_VALUES = Check("a list of values", _values)
_KEY = text("the name of a key")


class Filter(Mapping[str, Any]):
    """Conditions on runs. Combine them with `&`, `|` and `~`; `api.runs()` takes them.

    >>> print((config("lr") > 0.1) & ~(tag == "old"))
    config.lr > 0.1 and not tag == "old"
    """

    @checks(document=FILTERS)
    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = dict(document)

    def __and__(self, other: Filter) -> Filter:
        return self._joined("$and", other)

    def __or__(self, other: Filter) -> Filter:
        return self._joined("$or", other)

    def __invert__(self) -> Filter:
        return Filter({"$nor": self._document.get("$or", [self._document])})

    def __bool__(self) -> bool:
        raise UsageError(
            f"The filter {self} has no truth value: combine filters with & | ~ instead of and, or,"
            " not, and put each comparison into parentheses."
        )

    def _joined(self, operator: str, other: Filter) -> Filter:
        if not isinstance(other, Filter):
            return NotImplemented
        parts = [part._document.get(operator, [part._document]) for part in (self, other)]
        return Filter({operator: [*parts[0], *parts[1]]})

    def __getitem__(self, key: str) -> Any:
        return self._document[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._document)

    def __len__(self) -> int:
        return len(self._document)

    def __str__(self) -> str:
        return expression(self._document)

    def __repr__(self) -> str:
        return f"<Filter {self}>"


class Field:
    """A column of a run, or a key inside one, that can be compared.

    A list, such as the tags, equals a value if one of its elements does. A field that a run
    does not have equals None, and is neither greater nor less than anything.
    """

    @checks(name=text("a name like 'state' or 'config.lr'"))
    def __init__(self, name: str) -> None:
        self._name = str(parse_name(name))

    def __eq__(self, value: object) -> Filter:  # type: ignore[override]
        return self._is("$eq", value)

    def __ne__(self, value: object) -> Filter:  # type: ignore[override]
        return self._is("$ne", value)

    def __lt__(self, value: Any) -> Filter:
        return self._is("$lt", value)

    def __le__(self, value: Any) -> Filter:
        return self._is("$lte", value)

    def __gt__(self, value: Any) -> Filter:
        return self._is("$gt", value)

    def __ge__(self, value: Any) -> Filter:
        return self._is("$gte", value)

    @checks(values=_VALUES)
    def is_in(self, values: Iterable[Any]) -> Filter:
        """The field equals one of these."""
        return self._is("$in", list(values))

    @checks(pattern=text("a regular expression"))
    def matches(self, pattern: str) -> Filter:
        """The regular expression, in RE2's syntax, matches a part of the field."""
        return self._is("$regex", pattern)

    def exists(self) -> Filter:
        """The run has this field."""
        return self._is("$exists", True)

    def _is(self, operator: str, value: Any) -> Filter:
        # Checked here, so that an error is raised where the condition is written. The name stays as
        # it was typed, for printing.
        (sent,) = check_filters({self._name: {operator: value}}).values()
        return Filter({self._name: sent})

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<Field {self._name}>"


@checks(key=_KEY)
def config(key: str) -> Field:
    """A value of the config; nested keys after dots, a key with a dot in double quotes.

    >>> config("optimizer.lr") > 0.1
    <Filter config.optimizer.lr > 0.1>
    """
    return Field(f"config.{key}")


@checks(key=_KEY)
def summary(key: str) -> Field:
    """A value of the summary, like `summary("eval/loss")`."""
    return Field(f"summary.{key}")


state = Field("state")
tag = Field("tag")
name = Field("name")
display_name = Field("display_name")
group = Field("group")
job_type = Field("job_type")
sweep = Field("sweep")
user = Field("user")
host = Field("host")
created_at = Field("created_at")
heartbeat_at = Field("heartbeat_at")
duration = Field("duration")


_SIGNS = {"$eq": "==", "$ne": "!=", "$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
_WORDS = {"$in": "in", "$regex": "matches"}


def expression(document: Mapping[str, Any]) -> str:
    """The filter as an expression.

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
