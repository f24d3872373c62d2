"""Fields of rows that filters and orders can use, and their SQL."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from aiowandb_server.errors import UnknownFieldError
from aiowandb_server.store.conditions import Sql


@dataclass(frozen=True, slots=True)
class FilterField:
    """A field of a row.

    `kind` is SQL for the JSON type of the value: 'text', 'integer', 'real', 'true', 'false',
    'array', 'object', 'null', or NULL where the key is missing.
    """

    value: Sql
    kind: Sql
    elements: Sql | None = None
    is_time: bool = False
    never_null: bool = False


FieldOf: TypeAlias = Callable[[str], FilterField]


def column(sql: str, *, never_null: bool = False) -> FilterField:
    return FilterField(Sql(sql), Sql(f"nullif(typeof({sql}), 'null')"), never_null=never_null)


def moment(sql: str) -> FilterField:
    """A column of Unix seconds, compared with times in W&B's formats."""
    return FilterField(Sql(sql), Sql("'integer'"), is_time=True, never_null=True)


def fields_among(known: Mapping[str, FilterField], what: str) -> FieldOf:
    """Looks up fields of rows that have only columns; `what` names the rows in errors."""

    def field(name: str) -> FilterField:
        if name not in known:
            raise UnknownFieldError(f"{what} have no field {name!r}; known are {', '.join(known)}")
        return known[name]

    return field
