"""MongoDB-style filters, compiled to parameterised SQL.

Semantics are MongoDB's: a missing key equals null and nothing else, comparisons hold between
values of one type only, `$ne` and `$nin` match where the key is missing, and a condition on a
list holds if it holds for the list or for one of its elements.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from aiowandb_server.errors import FilterError
from aiowandb_server.store.conditions import Sql, every, negated, some, value
from aiowandb_server.store.metering import meter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aiowandb_server.store.fields import FieldOf, FilterField


_MAX_PATTERN = 10_000
_MAX_CACHED = 500
# So many characters of a text are searched: one call of RE2 cannot be ended.
_MAX_SEARCHED = 1_000_000


def check_pattern(pattern: str) -> None:
    """Raise ValueError with RE2's explanation if this is not a valid regular expression."""
    if len(pattern) > _MAX_PATTERN:
        raise ValueError(f"a pattern may have at most {_MAX_PATTERN} characters")
    try:
        _search(pattern, "")
    except pa.ArrowInvalid as error:
        raise ValueError(str(error)) from error


def matches_pattern(pattern: str, text: object) -> bool:
    """SQLite's `text REGEXP pattern`; other values than text never match."""
    if not isinstance(text, str):
        return False
    if (found := meter()) is not None and found.is_late():
        raise TimeoutError("the query takes too long")
    text = text[:_MAX_SEARCHED]
    # What is long is not cached, to limit the memory of the cache.
    is_short = len(pattern) + len(text) <= _MAX_CACHED
    return _search_cached(pattern, text) if is_short else _search(pattern, text)


def _search(pattern: str, text: str) -> bool:
    options = pc.MatchSubstringOptions(pattern)
    found = pc.call_function("match_substring_regex", [pa.scalar(text)], options)
    return bool(found.as_py())


_search_cached = lru_cache(maxsize=16_384)(_search)
_MAX_ITEMS = 100_000
_MAX_OTHERS = 100
_NUMBERS_AT_ONCE = 1000
_MAX_DEPTH = 40
# SQLite's compiler takes seconds for more.
_MAX_CONDITIONS = 1000
_MAX_NAME = 4096
_COMPARISONS = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
_GROUPS = ("$and", "$or", "$nor")


def compile_filter(filters: object, field: FieldOf) -> Sql:
    """An SQL condition for the rows that `filters` selects; None selects all."""
    if (count := _count_conditions(filters)) > _MAX_CONDITIONS:
        raise FilterError(
            f"the filter has {count} conditions, and {_MAX_CONDITIONS} are allowed. "
            "For many values of one field, use $in."
        )
    return _document({} if filters is None else filters, field, 0)


def _count_conditions(filters: object) -> int:
    count, rest = 0, [filters]
    while rest:
        part = rest.pop()
        if isinstance(part, list):
            rest += [inner for inner in part if isinstance(inner, dict)]
        elif isinstance(part, dict):
            count += len(part)
            rest += part.values()
    return count


def fields_of(filters: object) -> set[str]:
    """All field names in the filter."""
    if isinstance(filters, list):
        return set().union(*map(fields_of, filters))
    if not isinstance(filters, dict):
        return set()
    names: set[str] = set()
    for key, operand in filters.items():
        names |= fields_of(operand) if key.startswith("$") else {key}
    return names


def _document(filters: object, field: FieldOf, depth: int) -> Sql:
    if not isinstance(filters, dict):
        raise FilterError(
            f'a filter must be an object like {{"state": "finished"}}, not {filters!r}'
        )
    if depth > _MAX_DEPTH:
        raise FilterError(f"the filter is nested more than {_MAX_DEPTH} levels deep")
    return every([_member(key, operand, field, depth) for key, operand in filters.items()])


def _member(key: str, operand: Any, field: FieldOf, depth: int) -> Sql:
    if key in _GROUPS:
        if not isinstance(operand, list):
            raise FilterError(f"{key} takes a list of filters, not {operand!r}")
        parts = [_document(part, field, depth + 1) for part in operand]
        if key == "$and":
            return every(parts)
        return some(parts) if key == "$or" else negated(some(parts))
    if key == "$not":
        return negated(_document(operand, field, depth + 1))
    if key.startswith("$"):
        raise FilterError(
            f"{key} is not an operator that combines filters: use $and, $or, $nor, $not"
        )
    if len(key) > _MAX_NAME:
        raise FilterError(f"a field of {len(key)} characters is too long: {key[:80]!r}...")
    return _condition(key, field(key), operand, depth)


def _condition(name: str, target: FilterField, operand: Any, depth: int) -> Sql:
    if not (isinstance(operand, dict) and any(key.startswith("$") for key in operand)):
        return _equals(target, operand)
    if depth > _MAX_DEPTH:
        raise FilterError(f"the filter is nested more than {_MAX_DEPTH} levels deep")
    return every(
        [_operation(name, target, key, item, operand, depth) for key, item in operand.items()]
    )


def _operation(
    name: str, target: FilterField, key: str, operand: Any, siblings: Mapping[str, Any], depth: int
) -> Sql:
    match key:
        case "$eq":
            return _equals(target, operand)
        case "$ne":
            return negated(_equals(target, operand))
        case "$gt" | "$gte" | "$lt" | "$lte":
            return _compare(name, target, key, operand)
        case "$in" | "$nin":
            if not isinstance(operand, list):
                raise FilterError(f"{name}: {key} takes a list, not {operand!r}")
            found = _is_one_of(name, target, operand)
            return found if key == "$in" else negated(found)
        case "$exists":
            there = Sql(f"({target.kind.text} IS NOT NULL)", target.kind.parameters)
            return there if operand else negated(there)
        case "$regex":
            return _regex(name, target, operand, siblings.get("$options", ""))
        case "$options" if "$regex" in siblings:
            return Sql("1")
        case "$not":
            return negated(_condition(name, target, operand, depth + 1))
    raise FilterError(
        f"{name}: {key} is not an operator; known are $eq $ne $gt $gte $lt $lte $in $nin $exists "
        "$regex $not"
    )


def _equals(target: FilterField, operand: Any) -> Sql:
    if operand is None:
        return Sql(f"(ifnull({target.kind.text}, 'null') = 'null')", target.kind.parameters)
    if isinstance(operand, bool):
        return _holds(target, lambda _, kind: kind.join("=", value("true" if operand else "false")))
    if isinstance(operand, (list, dict)):
        same = Sql("json(?)", (json.dumps(operand),))
        kind = "'array'" if isinstance(operand, list) else "'object'"
        return _of_kind(target.kind, kind).join("AND", target.value.join("=", same))
    return _compare("", target, "=", operand)


def _is_one_of(name: str, target: FilterField, items: list[Any]) -> Sql:
    """Whether the value equals one of many; all values of a type are compared at once."""
    if len(items) > _MAX_ITEMS:
        raise FilterError(
            f"{name}: a list of {len(items)} values is too long: {_MAX_ITEMS} are allowed"
        )
    if target.is_time:
        items = [_seconds(name, item) for item in items]
    texts: list[str] = []
    numbers: list[float] = []
    others: list[Any] = []
    for item in items:
        if isinstance(item, str) and "\0" not in item:
            texts.append(item)
        elif isinstance(item, (int, float)) and not isinstance(item, bool):
            numbers.append(_storable(item))
        elif item not in others:
            others.append(item)
    if len(others) > _MAX_OTHERS:
        raise FilterError(
            f"{name}: a list of more than {_MAX_OTHERS} lists and objects is too long"
        )
    conditions = [_equals(target, item) for item in others]
    if texts:
        # A single parameter, because SQLite limits their number.
        listed = Sql("(SELECT value FROM json_each(?))", (json.dumps(texts, ensure_ascii=False),))
        conditions.append(_is_in(target, "'text'", listed))
    # Not as text: SQLite could parse it as slightly different numbers.
    for start in range(0, len(numbers), _NUMBERS_AT_ONCE):
        some_numbers = tuple(numbers[start : start + _NUMBERS_AT_ONCE])
        listed = Sql(f"({', '.join('?' * len(some_numbers))})", some_numbers)
        conditions.append(_is_in(target, "'integer', 'real'", listed))
    return some(conditions)


def _is_in(target: FilterField, kinds: str, listed: Sql) -> Sql:
    return _holds(
        target,
        lambda subject, kind: _of_kind(kind, kinds).join("AND", subject.join("IN", listed)),
    )


def _storable(number: float) -> float:
    """The number as SQLite stores it: integers of more than 64 bits become floats."""
    if not isinstance(number, int) or abs(number) < 2**63:
        return number
    try:
        return float(number)
    except OverflowError:
        raise FilterError("a number in the filter is too large") from None


def _compare(name: str, target: FilterField, operator: str, operand: Any) -> Sql:
    sign = _COMPARISONS.get(operator, operator)
    if target.is_time:
        operand = _seconds(name, operand)
    if isinstance(operand, str):
        kinds = "'text'"
    elif isinstance(operand, (int, float)) and not isinstance(operand, bool):
        kinds = "'integer', 'real'"
        operand = _storable(operand)
    else:
        raise FilterError(f"{name}: {operator} takes a number or a string, not {operand!r}")
    return _holds(
        target,
        lambda subject, kind: _of_kind(kind, kinds).join("AND", subject.join(sign, value(operand))),
    )


def _regex(name: str, target: FilterField, pattern: Any, options: Any) -> Sql:
    if not isinstance(pattern, str) or not isinstance(options, str):
        raise FilterError(f"{name}: $regex takes a string, not {pattern!r}")
    if options:
        pattern = f"(?{options}){pattern}"
    try:
        check_pattern(pattern)
    except ValueError as error:
        raise FilterError(f"{name}: $regex: {error}") from error
    return _holds(
        target,
        lambda subject, kind: _of_kind(kind, "'text'").join(
            "AND", subject.join("REGEXP", value(pattern))
        ),
    )


def _holds(target: FilterField, test: Callable[[Sql, Sql], Sql]) -> Sql:
    """`test(value, kind)` for the value itself or any element of a list."""
    own = test(target.value, target.kind)
    if target.elements is None:
        return own
    inner = test(Sql("value"), Sql("type"))
    found = Sql(
        f"EXISTS ({target.elements.text} WHERE {inner.text})",
        target.elements.parameters + inner.parameters,
    )
    return some([own, _of_kind(target.kind, "'array'").join("AND", found)])


def _of_kind(kind: Sql, kinds: str) -> Sql:
    return Sql(f"({kind.text} IN ({kinds}))", kind.parameters)


def _seconds(name: str, operand: Any) -> float:
    """The Unix time of ISO 8601 text (UTC unless it has a zone) or of Unix seconds."""
    if isinstance(operand, (int, float)) and not isinstance(operand, bool):
        return operand
    try:
        moment = datetime.fromisoformat(str(operand))
    except ValueError:
        raise FilterError(
            f"{name or 'a time'} takes a time like 2026-01-31T12:00:00, not {operand!r}"
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
