"""SQL expressions with their parameters, so that user text never becomes SQL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Sql:
    """An expression and the values of its placeholders, in order."""

    text: str
    parameters: tuple[Any, ...] = ()

    def join(self, operator: str, other: Sql) -> Sql:
        return Sql(f"({self.text} {operator} {other.text})", self.parameters + other.parameters)


_TOGETHER = 50
TRUE = Sql("1")
FALSE = Sql("0")


def value(item: object) -> Sql:
    return Sql("?", (item,))


def every(conditions: list[Sql]) -> Sql:
    return _joined(" AND ", conditions, TRUE)


def some(conditions: list[Sql]) -> Sql:
    return _joined(" OR ", conditions, FALSE)


def negated(condition: Sql) -> Sql:
    # A comparison with NULL is NULL, and so is its negation; here it must be false.
    return Sql(f"(NOT ifnull({condition.text}, 0))", condition.parameters)


def _joined(operator: str, conditions: list[Sql], when_empty: Sql) -> Sql:
    if not conditions:
        return when_empty
    while len(conditions) > _TOGETHER:
        # SQLite limits the depth of expressions to 1,000, and a chain is as deep as it is long.
        conditions = [
            _joined(operator, conditions[start : start + _TOGETHER], when_empty)
            for start in range(0, len(conditions), _TOGETHER)
        ]
    text = operator.join(condition.text for condition in conditions)
    return Sql(f"({text})", tuple(p for condition in conditions for p in condition.parameters))
