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
from graphql import GraphQLError, GraphQLSchema, build_schema, execute_sync

from aiowandb_server.errors import RequestError, TooManyFieldsError
from aiowandb_server.graphql import (
    accounts,
    artifact_changes,
    artifact_uploads,
    artifacts,
    charts,
    collections,
    files,
    history,
    projects,
    run_changes,
    runs,
    sweeps,
    viewer,
)
from aiowandb_server.graphql.context import Context
from aiowandb_server.graphql.documents import Documents, InvalidDocumentError
from aiowandb_server.graphql.resolving import name_of_type, read_field
from aiowandb_server.graphql.scalars import bind_scalars
from aiowandb_server.responses import FAILURES, as_refusal
from aiowandb_server.store import json_text

if TYPE_CHECKING:
    from collections.abc import Sequence

logger = logging.getLogger("aiowandb_server")

_SUBJECTS = (
    accounts,
    artifact_changes,
    artifact_uploads,
    artifacts,
    charts,
    collections,
    files,
    history,
    projects,
    run_changes,
    runs,
    sweeps,
    viewer,
)


class _GraphQLBody(msgspec.Struct):
    query: str
    variables: dict[str, Any] | None = None
    operation_name: str | None = msgspec.field(name="operationName", default=None)


_BODY = msgspec.json.Decoder(_GraphQLBody)


@dataclass(frozen=True, slots=True)
class HttpAnswer:
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


def answer(body: bytes, context: Context) -> HttpAnswer:
    """Execute a request. Runs in a worker thread; the store blocks."""
    try:
        request = json_text.decode_body(_BODY, body)
    except ValueError as error:
        return refused(f"not a GraphQL request: {error}")
    # `wandb.Api()` sends an empty name for the only operation of a document.
    operation_name = request.operation_name or None
    try:
        document = _documents().find(request.query, operation_name)
    except RequestError as error:
        return refused(str(error), error.status)
    except InvalidDocumentError as error:
        return _errors(400, error.problems)
    try:
        result = execute_sync(
            load_schema(),
            document,
            context_value=context,
            variable_values=request.variables,
            operation_name=operation_name,
            field_resolver=read_field,
            type_resolver=name_of_type,
        )
    except TooManyFieldsError as error:
        return refused(str(error), 413)
    if result.errors:
        errors = [_without_failure(error) for error in result.errors]
        return _errors(_status(errors), errors, result.data)
    return HttpAnswer(200, _encoded({"data": result.data}))


def refused(message: str, status: int = 400) -> HttpAnswer:
    return _errors(status, [GraphQLError(message)])


@lru_cache(maxsize=1)
def _documents() -> Documents:
    return Documents(load_schema())


def _errors(
    status: int, errors: Sequence[GraphQLError], data: dict[str, Any] | None = None
) -> HttpAnswer:
    body = {"data": data, "errors": [error.formatted for error in errors]}
    for error in errors:
        _forget_frames(error)
    return HttpAnswer(status, _encoded(body))


def _without_failure(error: GraphQLError) -> GraphQLError:
    """The error as a client is told of it, if the disk or the database of the store failed."""
    if not isinstance(error.original_error, FAILURES):
        return error
    refusal = as_refusal(error.original_error)
    _forget_frames(error)
    return GraphQLError(str(refusal), error.nodes, path=error.path, original_error=refusal)


def _forget_frames(error: BaseException | None) -> None:
    """Drop the tracebacks: the frames in them keep the request with all that was read for it, and
    themselves, until the garbage is collected."""
    while error is not None and error.__traceback__ is not None:
        error.__traceback__ = None
        if isinstance(error, GraphQLError):
            _forget_frames(error.original_error)
        error = error.__cause__ or error.__context__


def _encoded(body: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(body)
    except TypeError:
        # Integers beyond 64 bits and lone surrogates: valid in JSON, not supported by orjson.
        return json.dumps(body).encode()


def _status(errors: Sequence[GraphQLError]) -> int:
    """The status of the worst error. Unexpected exceptions are the server's fault: a 500."""
    statuses = [400]
    for error in errors:
        cause = error.original_error
        if isinstance(cause, RequestError):
            statuses.append(cause.status)
        elif cause is not None and not isinstance(cause, GraphQLError):
            logger.error("%s failed", error.path, exc_info=cause)
            statuses.append(500)
    return max(statuses)
