"""The format of the schema's custom scalars and opaque ids.

An id is base64 of a type and a key, like W&B's ids.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, Any

from graphql import GraphQLError

from aiowandb_server.errors import RequestError
from aiowandb_server.store import json_text
from aiowandb_server.store.records import iso

if TYPE_CHECKING:
    from collections.abc import Callable

    from graphql import GraphQLSchema


def _same(value: Any) -> Any:
    return value


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise GraphQLError(f"not an integer: {value!r}")
    try:
        number = int(value)
    except (ValueError, OverflowError):
        raise GraphQLError(f"not an integer: {value!r}") from None
    if not -(2**63) <= number < 2**63:
        raise GraphQLError("the integer does not fit into 64 bits")
    return number


def _json_string(value: Any) -> str:
    # Some clients send the object itself in place of its text.
    text = value if isinstance(value, str) else json.dumps(value)
    return json_text.without_halves(text)


def int32(number: int) -> int:
    """A count as a GraphQL `Int`, capped so that a large one does not fail the request."""
    return max(-(2**31), min(number, 2**31 - 1))


_OUT: dict[str, Callable[[Any], Any]] = {
    # Text stored by earlier versions may contain lone surrogates.
    "JSONString": _json_string,
    "JSON": json_text.strict,
    "DateTime": iso,
    "Int64": _integer,
    "Duration": _integer,
}
_IN: dict[str, Callable[[Any], Any]] = {
    "JSONString": _json_string,
    "Int64": _integer,
    "Duration": _integer,
}


def bind_scalars(schema: GraphQLSchema) -> None:
    for name in ("JSONString", "JSON", "JSONLines", "Int64", "DateTime", "Duration"):
        scalar = schema.type_map[name]
        # The first name is used by graphql-core 3.3, the second by 3.2.
        for attribute in ("coerce_output_value", "serialize"):
            setattr(scalar, attribute, _OUT.get(name, _same))
        for attribute in ("coerce_input_value", "parse_value"):
            setattr(scalar, attribute, _IN.get(name, _same))


def encode_id(kind: str, *parts: str | int) -> str:
    return base64.b64encode(":".join([kind, *map(str, parts)]).encode()).decode()


def row_id(kind: str, text: str) -> int:
    """The row id in an id made with `encode_id(kind, row_id)`; raises a 404 for other ids."""
    if (number := row_id_or_none(kind, text)) is None:
        raise RequestError(f"{kind} {text!r} not found", 404)
    return number


def row_id_or_none(kind: str, text: str) -> int | None:
    found, _, number = _decode(text).rpartition(":")
    is_number = number.isascii() and number.isdecimal() and len(number) < 19
    if found == kind and is_number and number == str(int(number)):
        return int(number)
    return None


def names_of_run(text: str) -> tuple[str, str, str] | None:
    """Run, project and entity in an id of W&B's format, `Run:v1:<run>:<project>:<entity>`."""
    names = _decode(text)
    if not names.startswith("Run:v1:"):
        return None
    run, *rest = names.removeprefix("Run:v1:").rsplit(":", 2)
    return (run, rest[0], rest[1]) if len(rest) == 2 and all(rest) else None


def _decode(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode()
    except (binascii.Error, ValueError):
        return ""
