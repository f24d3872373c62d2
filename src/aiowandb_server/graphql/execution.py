"""From the body of a GraphQL request to the body of its answer."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import TYPE_CHECKING, Any

import msgspec
import orjson
from graphql import (
    DocumentNode,
    GraphQLError,
    GraphQLSchema,
    build_schema,
    execute_sync,
    parse,
    specified_rules,
    validate,
)
from graphql.validation import (
    NoUnusedFragmentsRule,
    NoUnusedVariablesRule,
    OverlappingFieldsCanBeMergedRule,
    VariablesInAllowedPositionRule,
)

from aiowandb_server.errors import RequestError
from aiowandb_server.graphql import (
    accounts,
    artifact_changes,
    artifact_uploads,
    artifacts,
    collections,
    files,
    history,
    projects,
    run_changes,
    runs,
    sweeps,
    viewer,
)
from aiowandb_server.graphql.context import Context, RefusedError
from aiowandb_server.graphql.resolving import name_of_type, read_field
from aiowandb_server.graphql.scalars import bind_scalars
from aiowandb_server.store import json_text

if TYPE_CHECKING:
    from collections.abc import Sequence

logger = logging.getLogger("aiowandb_server")

# W&B's clients rely on its leniency here; what these rules find would do no harm.
_LENIENT = (
    NoUnusedFragmentsRule,
    NoUnusedVariablesRule,
    OverlappingFieldsCanBeMergedRule,
    VariablesInAllowedPositionRule,
)
_RULES = [rule for rule in specified_rules if rule not in _LENIENT]
_SUBJECTS = (
    accounts,
    artifact_changes,
    artifact_uploads,
    artifacts,
    collections,
    files,
    history,
    projects,
    run_changes,
    runs,
    sweeps,
    viewer,
)


class _Body(msgspec.Struct):
    query: str
    variables: dict[str, Any] | None = None
    operation_name: str | None = msgspec.field(name="operationName", default=None)


_BODY = msgspec.json.Decoder(_Body)


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes


@lru_cache(maxsize=1)
def load_schema() -> GraphQLSchema:
    """The schema of `schema.graphql` with all resolvers in place."""
    text = (resources.files("aiowandb_server") / "schema.graphql").read_text(encoding="utf-8")
    schema = build_schema(text)
    bind_scalars(schema)
    for subject in _SUBJECTS:
        subject.resolvers.bind(schema)
    return schema


def answer(body: bytes, context: Context) -> Answer:
    """Execute a request. Runs in a worker thread; the store blocks."""
    try:
        request = json_text.decode_body(_BODY, body)
    except ValueError as error:
        return refused(f"not a GraphQL request: {error}")
    document = _document(request.query)
    if not isinstance(document, DocumentNode):
        return _errors(400, document)
    result = execute_sync(
        load_schema(),
        document,
        context_value=context,
        variable_values=request.variables,
        # `wandb.Api()` sends an empty name for "the only operation of this document".
        operation_name=request.operation_name or None,
        field_resolver=read_field,
        type_resolver=name_of_type,
    )
    if result.errors:
        return _errors(_status(result.errors), result.errors, result.data)
    return Answer(200, _encoded({"data": result.data}))


def refused(message: str, status: int = 400) -> Answer:
    return _errors(status, [GraphQLError(message)])


@lru_cache(maxsize=512)
def _document(text: str) -> DocumentNode | tuple[GraphQLError, ...]:
    """The parsed document, or what is wrong with it. Clients send the same few over and over."""
    try:
        document = parse(text, no_location=False)
    except GraphQLError as error:
        return (error,)
    except RecursionError:
        return (GraphQLError("the document is nested too deeply"),)
    return tuple(validate(load_schema(), document, _RULES)) or document


def _errors(
    status: int, errors: Sequence[GraphQLError], data: dict[str, Any] | None = None
) -> Answer:
    body = {"data": data, "errors": [error.formatted for error in errors]}
    return Answer(status, _encoded(body))


def _encoded(body: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(body)
    except TypeError:
        # Integers beyond 64 bits and half surrogates: JSON has them, orjson has not.
        return json.dumps(body).encode()


def _status(errors: Sequence[GraphQLError]) -> int:
    """The status of the worst error. What the server did not expect is its own fault: a 500."""
    statuses = [400]
    for error in errors:
        cause = error.original_error
        if isinstance(cause, RefusedError):
            statuses.append(cause.status)
        elif cause is not None and not isinstance(cause, (RequestError, GraphQLError)):
            logger.error("%s failed", error.path, exc_info=cause)
            statuses.append(500)
    return max(statuses)
