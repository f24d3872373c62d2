"""Filters as a line of text, for the command line.

    config.lr > 0.1 and (state == "finished" or tag in ["best", "kept"])
    not summary."a.b" exists and display_name matches "^run-\\d+"
    created_at > "2026-01-31" and heartbeat_at < 12h ago and duration > 2h

`not` binds tighter than `and`, and `and` tighter than `or`. A duration has one of the units
s m h d w; with `ago` it is a time in the past, without it is a number of seconds. In text,
a backslash is an ordinary character unless a quote or a backslash follows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from aiowandb.errors import UsageError
from aiowandb.wire.filters.building import Field, Filter
from aiowandb.wire.filters.names import PLAIN_KEY

_TOKEN = re.compile(
    rf"""
      (?P<text>   "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*' )
    | (?P<span>   \d+(?:\.\d+)?[smhdw]\b )
    | (?P<number> [+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)? )
    | (?P<name>   [A-Za-z_]\w*(?:\.(?:"[^"]+"|{PLAIN_KEY}))* )
    | (?P<sign>   == | != | <= | >= | =~ | \S )
    """,
    re.VERBOSE | re.DOTALL | re.ASCII,
)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_CONSTANTS = {"true": True, "false": False, "null": None, "none": None}
_COMPARISONS: dict[str, Callable[[Field, Any], Filter]] = {
    "==": Field.__eq__,
    "!=": Field.__ne__,
    "<": Field.__lt__,
    "<=": Field.__le__,
    ">": Field.__gt__,
    ">=": Field.__ge__,
    "matches": Field.matches,
    "=~": Field.matches,
}
_OPERATORS = "==, !=, <, <=, >, >=, in, not in, matches, exists"


def parse_expression(text: str, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> Filter:
    """The filter that the text describes, or a `UsageError` that points at the column.

    >>> parse_expression("config.lr > 0.1 and tag == 'best'")
    <Filter config.lr > 0.1 and tag == "best">
    """
    try:
        return _Parser(text, now).parse()
    except (RecursionError, OverflowError, ValueError) as error:
        raise UsageError(f"The filter, or a number in it, is too large: {error}.") from error


class _Token(msgspec.Struct, frozen=True):
    kind: str
    text: str
    start: int


def _tokens(text: str) -> Iterator[_Token]:
    for found in _TOKEN.finditer(text):
        yield _Token(str(found.lastgroup), found[0], found.start())
    yield _Token("end", "", len(text))


class _Parser:
    """A recursive descent parser, with one method for each precedence."""

    def __init__(self, text: str, now: Callable[[], datetime]) -> None:
        self._text = text
        self._now = now
        self._tokens = _tokens(text)
        self._next = next(self._tokens)

    def parse(self) -> Filter:
        found = self._or()
        if self._next.kind != "end":
            raise self._expected("and, or, or the end")
        return found

    def _or(self) -> Filter:
        found = self._and()
        while self._accept("or"):
            found = found | self._and()
        return found

    def _and(self) -> Filter:
        found = self._not()
        while self._accept("and"):
            found = found & self._not()
        return found

    def _not(self) -> Filter:
        if self._accept("not"):
            return ~self._not()
        if self._accept("("):
            found = self._or()
            self._demand(")")
            return found
        return self._comparison()

    def _comparison(self) -> Filter:
        if self._next.kind != "name":
            raise self._expected("a name like state or config.lr")
        field = Field(self._take().text)
        if self._accept("exists"):
            return field.exists()
        if self._accept("in"):
            return self._one_of(field)
        if self._accept("not"):
            self._demand("in")
            return ~self._one_of(field)
        compare = _COMPARISONS.get(self._next.text.lower())
        if compare is None:
            raise self._expected(f"one of {_OPERATORS}")
        self._take()
        return self._compared(field, compare)

    def _one_of(self, field: Field) -> Filter:
        if self._next.text not in ("[", "("):
            raise self._expected('a list like ["a", "b"]')
        return self._compared(field, Field.is_in)

    def _compared(self, field: Field, compare: Callable[[Field, Any], Filter]) -> Filter:
        place = self._next
        value = self._value()
        try:
            return compare(field, value)
        except UsageError as error:
            raise self._error(place, str(error)) from None

    def _value(self) -> Any:
        token = self._take()
        match token.kind, token.text:
            case "text", text:
                return re.sub(r"\\([\\\"'])", r"\1", text[1:-1])
            case "number", text:
                return int(text) if re.fullmatch(r"[+-]?\d+", text) else float(text)
            case "span", text:
                return self._moment(timedelta(**{_UNITS[text[-1]]: float(text[:-1])}))
            case "name", text if text.lower() in _CONSTANTS:
                return _CONSTANTS[text.lower()]
            case "sign", "[" | "(":
                return self._list("]" if token.text == "[" else ")")
        raise self._expected('a value like 0.1, "text", 7d ago or ["a", "b"]', token)

    def _moment(self, span: timedelta) -> datetime | float:
        return self._now() - span if self._accept("ago") else span.total_seconds()

    def _list(self, end: str) -> list[Any]:
        items: list[Any] = []
        while not self._accept(end):
            if items:
                self._demand(",")
            items.append(self._value())
        return items

    def _accept(self, text: str) -> bool:
        found = self._next.kind in ("name", "sign") and self._next.text.lower() == text
        if found:
            self._take()
        return found

    def _demand(self, text: str) -> None:
        if not self._accept(text):
            raise self._expected(text)

    def _take(self) -> _Token:
        token = self._next
        self._next = next(self._tokens, token)
        return token

    def _expected(self, what: str, instead: _Token | None = None) -> UsageError:
        place = instead or self._next
        found = repr(place.text) if place.text else "the end"
        return self._error(place, f"expected {what}, found {found}")

    def _error(self, place: _Token, what: str) -> UsageError:
        return UsageError(f"Filter {self._text!r}, column {place.start + 1}: {what.rstrip('.')}.")
