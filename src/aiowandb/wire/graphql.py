"""One GraphQL request and what its answer means."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any, Generic, TypeVar

import msgspec
import orjson

from aiowandb.errors import (
    AuthenticationError,
    CommError,
    GraphQLError,
    NotFoundError,
    RateLimitError,
    ServerError,
)

T = TypeVar("T", bound=msgspec.Struct)

_BY_STATUS: Mapping[int, type[CommError]] = {
    401: AuthenticationError,
    403: AuthenticationError,
    404: NotFoundError,
    429: RateLimitError,
}
_LONGEST_QUOTE = 300
# Errors in an answer are final, but for these.
_PASSING = re.compile(
    r"deadline exceeded|timed? ?out|unavailable|internal (server )?error|rate limit|try again",
    re.IGNORECASE,
)
# What msgspec raises for bytes that are not what they should be, or that nest too deeply.
MALFORMED = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class Operation(msgspec.Struct, Generic[T], frozen=True):
    """A document, its variables, and the type that the answer's `data` has."""

    name: str
    document: str
    variables: Mapping[str, Any]
    answer: type[T]

    @property
    def changes(self) -> bool:
        """Whether this tells W&B something, rather than asking."""
        return self.document.lstrip().startswith("mutation")

    def body(self) -> bytes:
        return orjson.dumps(
            {"query": self.document, "variables": self.variables, "operationName": self.name}
        )

    def read(self, status: int, body: bytes) -> T:
        """The answer's data, or the exception that the answer amounts to."""
        if status >= 300:
            raise refusal(status, body, operation=self.name)
        try:
            _check_text(body)
            answer: _Answer[T] = _decoder(self.answer).decode(body)
        except MALFORMED as error:
            # Partial data beside errors does not fit the type: the errors are what matters.
            _raise_errors(self.name, _problems(body), _data(body))
            raise ServerError(
                f"{self.name}: the answer is not what W&B says ({error}): {_quote(body)}",
                error,
                status=status,
                operation=self.name,
            ) from error
        _raise_errors(self.name, answer.errors, answer.data)
        if answer.data is None:
            raise ServerError(
                f"{self.name}: the answer has no data.", status=status, operation=self.name
            )
        return answer.data


def refusal(
    status: int, body: bytes, *, operation: str | None = None, url: str | None = None
) -> CommError:
    """The exception for an answer that is not a success, in the words of the server."""
    problems = _problems(body)
    words = "; ".join(problem.message for problem in problems) or _quote(body) or "no message"
    kind = _BY_STATUS.get(status, ServerError if status >= 500 else CommError)
    return kind(
        f"{operation or 'The request'}: W&B answered {status}: {words}",
        status=status,
        operation=operation,
        url=url,
    )


class _Problem(msgspec.Struct):
    message: str = ""


class _Answer(msgspec.Struct, Generic[T]):
    data: T | None = None
    errors: list[_Problem] | None = None


class _ErrorBody(msgspec.Struct):
    errors: list[_Problem] | None = None
    error: str | _Problem | None = None


def _check_text(body: bytes) -> None:
    """Refuse bytes that no JSON has.

    A decoder does not look into keys that it skips: a spoilt one would be a value left out.
    """
    if not body.isascii():
        body.decode()
    if b"\0" in body:
        raise msgspec.DecodeError("JSON has no byte 0")


@cache
def _decoder(answer: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(_Answer[answer])


def _raise_errors(name: str, problems: list[_Problem] | None, data: object) -> None:
    if problems:
        words = "; ".join(problem.message for problem in problems)
        raise GraphQLError(
            f"{name}: {words}",
            data=data,
            may_pass=bool(_PASSING.search(words)),
            status=200,
            operation=name,
        )


def _problems(body: bytes) -> list[_Problem]:
    try:
        found = msgspec.json.decode(body, type=_ErrorBody)
    except MALFORMED:
        return []
    if isinstance(found.error, str):
        return [_Problem(found.error)]
    return found.errors or ([found.error] if found.error else [])


def _data(body: bytes) -> Any:
    try:
        return orjson.loads(body).get("data")
    except (orjson.JSONDecodeError, AttributeError):
        return None


def _quote(body: bytes) -> str:
    text = " ".join(body[:_LONGEST_QUOTE].decode("utf-8", "replace").split())
    return text + "…" if len(body) > _LONGEST_QUOTE else text
