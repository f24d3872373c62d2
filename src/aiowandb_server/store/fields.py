"""What a filter or an order may ask of a row, and the SQL that answers it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from aiowandb_server.errors import UnknownFieldError
from aiowandb_server.store.conditions import Sql


@dataclass(frozen=True, slots=True)
class FilterField:
    """One thing that can be asked of a row.

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
    """A column of unix seconds, compared with times as W&B writes them."""
    return FilterField(Sql(sql), Sql("'integer'"), is_time=True, never_null=True)


def fields_among(known: Mapping[str, FilterField], what: str) -> FieldOf:
    """The fields of rows that are asked for their columns only; `what` names the rows."""

    def field(name: str) -> FilterField:
        if name not in known:
            raise UnknownFieldError(
                f"{what} have no {name!r} to ask for; known are {', '.join(known)}"
            )
        return known[name]

    return field
