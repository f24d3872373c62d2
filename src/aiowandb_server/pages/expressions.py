"""Parses filter expressions into the filters of GraphQL.

    config.lr > 0.1 and (state == "finished" or tag in ["best", "kept"])
    not summary."a.b" exists and created_at > 7d ago

The syntax is that of `--filter`. The client has its own parser, because neither package imports
the other: the tests check that both agree.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable

Filters = dict[str, Any]

_PLAIN_KEY = r"""[^\s()\[\],"'<>=!~.]+"""
_TOKEN = re.compile(
    rf"""
      (?P<text>   "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*' )
    | (?P<span>   \d+(?:\.\d+)?[smhdw]\b )
    | (?P<number> [+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)? )
    | (?P<name>   [A-Za-z_]\w*(?:\.(?:"[^"]+"|{_PLAIN_KEY}))* )
    | (?P<sign>   == | != | <= | >= | =~ | \S )
    """,
    re.VERBOSE | re.DOTALL | re.ASCII,
)
_KEY = re.compile(r'"([^"]+)"|([^."]+)')
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_CONSTANTS = {"true": True, "false": False, "null": None, "none": None}
_OPERATORS = {
    "==": "$eq",
    "!=": "$ne",
    "<": "$lt",
    "<=": "$lte",
    ">": "$gt",
    ">=": "$gte",
    "matches": "$regex",
    "=~": "$regex",
}
_COLUMNS = {
    "summary": "summary_metrics",
    "summaryMetrics": "summary_metrics",
    "tag": "tags",
    "user": "username",
}


def parse_expression(
    text: str, now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> Filters | None:
    """The filter, or None for an empty text, which selects all runs. Raises ValueError.

    A text that begins with a brace is W&B's JSON and is only decoded.
    """
    if not text.strip():
        return None
    if text.lstrip().startswith("{"):
        found: Filters = orjson.loads(text)
        return found
    try:
        return _ExpressionParser(text, now).parse()
    except (RecursionError, OverflowError) as error:
        raise ValueError("the filter or a number in it is too large") from error


@dataclass(frozen=True, slots=True)
class _ExpressionToken:
    kind: str
    text: str
    column: int


class _ExpressionParser:
    """Recursive descent, with a method for each level of precedence."""

    def __init__(self, text: str, now: Callable[[], datetime]) -> None:
        self._tokens = [
            _ExpressionToken(str(found.lastgroup), found[0], found.start() + 1)
            for found in _TOKEN.finditer(text)
        ]
        self._tokens.append(_ExpressionToken("end", "", len(text) + 1))
        self._position = 0
        self._now = now

    def parse(self) -> Filters:
        found = self._or()
        if self._next.kind != "end":
            raise self._expected("and, or, or the end")
        return found

    def _or(self) -> Filters:
        parts = [self._and()]
        while self._accept("or"):
            parts.append(self._and())
        return parts[0] if len(parts) == 1 else {"$or": parts}

    def _and(self) -> Filters:
        parts = [self._not()]
        while self._accept("and"):
            parts.append(self._not())
        return parts[0] if len(parts) == 1 else {"$and": parts}

    def _not(self) -> Filters:
        if self._accept("not"):
            return {"$nor": [self._not()]}
        if self._accept("("):
            found = self._or()
            self._require(")")
            return found
        return self._comparison()

    def _comparison(self) -> Filters:
        if self._next.kind != "name":
            raise self._expected("a name like state or config.lr")
        name = _field(self._take().text)
        if self._accept("exists"):
            return {name: {"$exists": True}}
        if self._accept("in"):
            return {name: {"$in": self._list()}}
        if self._accept("not"):
            self._require("in")
            return {"$nor": [{name: {"$in": self._list()}}]}
        operator = _OPERATORS.get(self._next.text.lower())
        if operator is None:
            raise self._expected("one of ==, !=, <, <=, >, >=, in, not in, matches, exists")
        self._take()
        return {name: {operator: self._value()}}

    def _list(self) -> list[Any]:
        if self._next.text not in ("[", "("):
            raise self._expected('a list like ["a", "b"]')
        end = "]" if self._take().text == "[" else ")"
        items: list[Any] = []
        while not self._accept(end):
            if items:
                self._require(",")
            items.append(self._value())
        return items

    def _value(self) -> Any:
        token = self._next
        if token.text in ("[", "("):
            return self._list()
        self._take()
        if token.kind == "text":
            return re.sub(r"\\([\\\"'])", r"\1", token.text[1:-1])
        if token.kind == "number":
            whole = re.fullmatch(r"[+-]?\d+", token.text)
            return int(token.text) if whole else float(token.text)
        if token.kind == "span":
            span = timedelta(**{_UNITS[token.text[-1]]: float(token.text[:-1])})
            if self._accept("ago"):
                return (self._now() - span).isoformat()
            return span.total_seconds()
        if token.kind == "name" and token.text.lower() in _CONSTANTS:
            return _CONSTANTS[token.text.lower()]
        raise self._expected('a value like 0.1, "text", 7d ago or ["a", "b"]', token)

    @property
    def _next(self) -> _ExpressionToken:
        return self._tokens[self._position]

    def _take(self) -> _ExpressionToken:
        token = self._next
        self._position = min(self._position + 1, len(self._tokens) - 1)
        return token

    def _accept(self, text: str) -> bool:
        found = self._next.kind in ("name", "sign") and self._next.text.lower() == text
        if found:
            self._take()
        return found

    def _require(self, text: str) -> None:
        if not self._accept(text):
            raise self._expected(text)

    def _expected(self, what: str, instead: _ExpressionToken | None = None) -> ValueError:
        token = instead or self._next
        found = repr(token.text) if token.text else "the end"
        return ValueError(f"column {token.column}: expected {what}, found {found}")


def _field(name: str) -> str:
    """The name of the field in W&B's filters. Quotes are for keys that contain dots."""
    column, *keys = [found[1] or found[2] for found in _KEY.finditer(name)]
    if column == "config" and '"' in name:
        key, *inner = keys
        keys = [key, "value", *(inner[1:] if inner[:1] == ["value"] else inner)]
    return ".".join([_COLUMNS.get(column, column), *keys])
