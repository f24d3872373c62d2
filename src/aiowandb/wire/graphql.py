"""One GraphQL request, and what the response to it means."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from functools import cache
from typing import Any, Generic, NamedTuple, TypeVar, cast

import msgspec
import orjson

from aiowandb.errors import (
    AuthenticationError,
    CommError,
    GraphQLError,
    NotFoundError,
    RateLimitError,
    ServerError,
    UsageError,
)

T = TypeVar("T")

_BY_STATUS: Mapping[int, type[CommError]] = {
    401: AuthenticationError,
    403: AuthenticationError,
    404: NotFoundError,
    429: RateLimitError,
}
_LONGEST_QUOTE = 300
# A request for many runs may fail for each of them.
_MOST_ERRORS, _LONGEST_ERROR = 20, 2_000
# Errors in a response are final, except for these.
_TEMPORARY = re.compile(
    r"deadline exceeded|timed? ?out|unavailable|internal (server )?error|rate limit|try again",
    re.IGNORECASE,
)
# What msgspec raises for data of the wrong form, or nested too deeply.
MALFORMED = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


# What a run is called in a document about many of them, and the variable with its id.
RUN_ALIAS = re.compile(r"r\d+")
_MISSING = object()


# All documents about a project ask what it is called, too: a response about another one, which may
# have runs of the same names, is not taken for this one.
_PROJECT = "project(name: $project, entityName: $entity)"
_HOME_TOO = f"home: {_PROJECT} {{ name entityName }} {_PROJECT}"


class ProjectName(NamedTuple):
    """A project, by the names of its entity and its own."""

    entity: str
    project: str

    def __str__(self) -> str:
        return f"{self.entity}/{self.project}"


class RenamedProjectError(ServerError):
    """The response is about a project of another name: mixed up, or what was asked for is renamed.

    Only another request to W&B can tell.
    """

    def __init__(self, operation: str, asked: ProjectName, found: ProjectName) -> None:
        super().__init__(
            f"{operation}: W&B sent the response to another request:"
            f" it is about project {_cut(str(found))}, not {asked}.",
            status=200,
            operation=operation,
        )
        self.asked = asked
        self.found = found


class About(NamedTuple):
    """A step of a path, a field of the object there, and its expected value."""

    step: str
    field: str
    expected: str


class Operation(msgspec.Struct, Generic[T], frozen=True):
    """A document, its variables, and what is taken from the response: a value at a path.

    The path `at` leads from the response's `data` to a value of the type `answer`, which is all
    of `data` if there is no path. A step that ends in `?` may be null, and then the result is
    None. Any other step must be there.

    What the response is about is `about`: a step of the path, or one further, and the name or id
    that the object there must have, which the document requests. If it has another one, this is
    the response to another request. Where W&B leaves it out, nothing is compared. `differs` tells
    from the value what else it is about, or returns nothing; `projects` are those of the value, by
    the names that they should and do have.

    >>> at = ("project?", "run?")
    >>> Operation("Run", document, variables, RunRecord, at, About("run", "name", ref.run))
    """

    name: str
    document: str
    variables: Mapping[str, Any]
    answer: type[T]
    at: tuple[str, ...] = ()
    about: About | None = None
    differs: Callable[[Any], str | None] | None = None
    projects: Callable[[Any], Iterable[tuple[ProjectName, ProjectName]]] | None = None

    @property
    def changes(self) -> bool:
        """Whether this is a mutation."""
        return self.document.lstrip().startswith("mutation")

    def body(self) -> bytes:
        """The body of the request. Raises UsageError for text that no request can have."""
        document = self.document.replace(_PROJECT, _HOME_TOO, 1)
        body = {"query": document, "variables": self.variables, "operationName": self.name}
        try:
            return orjson.dumps(body)
        except TypeError as error:
            if "surrogates" not in str(error):
                raise
            # Such as a name that was typed on a terminal with another encoding.
            raise UsageError(f"{self.name}: an argument is not valid Unicode.") from error

    def read(
        self,
        status: int,
        body: bytes,
        renamed: Container[tuple[ProjectName, ProjectName]] = frozenset(),
    ) -> T:
        """The value in the response; raises what the response says otherwise.

        `renamed` are projects by the names that may be asked for, and those that they have.
        """
        if status >= 300:
            raise refusal(status, body, operation=self.name)
        try:
            _check_text(body)
            response: _Response[Any] = self._decoder().decode(body)
        except MALFORMED as error:
            # Partial data beside errors does not fit the type, and the errors say why.
            _raise_errors(self.name, _problems(body), _data(body))
            raise ServerError(
                f"{self.name}: W&B sent a response of the wrong form ({error}): {_quote(body)}",
                error,
                status=status,
                operation=self.name,
            ) from error
        _raise_errors(self.name, response.errors, response.data)
        if response.data is None:
            raise ServerError(
                f"{self.name}: the response has no data.", status=status, operation=self.name
            )
        value = self._value(response.data)
        self._check_projects(response.data, value, renamed)
        if isinstance(value, dict) and (lacking := self._of_others(value)):
            raise self._mixed_up(f"it lacks {lacking}", status)
        if self.about and (other := self._other(self.about, response.data)):
            what = f"it is about {self.about.step} {other}, not {self.about.expected}"
            raise self._mixed_up(what, status)
        if isinstance(value, Done) and value.success is False:
            raise CommError(
                f"{self.name}: W&B did not do it, and does not say why.",
                status=status,
                operation=self.name,
            )
        if self.differs and value is not None and (wrong := self.differs(value)):
            raise self._mixed_up(f"it is about {wrong}", status)
        return cast(T, value)

    def _check_projects(
        self, data: Any, value: Any, renamed: Container[tuple[ProjectName, ProjectName]]
    ) -> None:
        projects = [*self._home(getattr(data, "home", None))]
        if self.projects and value is not None:
            projects += self.projects(value)
        for asked, found in projects:
            same = is_same(found.entity, asked.entity) and is_same(found.project, asked.project)
            if not same and (asked, found) not in renamed:
                raise RenamedProjectError(self.name, asked, found)

    def _home(self, home: _Home | None) -> Iterator[tuple[ProjectName, ProjectName]]:
        if home is not None and _PROJECT in self.document:
            asked = ProjectName(self.variables["entity"], self.variables["project"])
            found = ProjectName(home.entity_name or asked.entity, home.name or asked.project)
            yield asked, found

    def _mixed_up(self, what: str, status: int) -> ServerError:
        return ServerError(
            f"{self.name}: W&B sent the response to another request: {_cut(what)}.",
            status=status,
            operation=self.name,
        )

    def _of_others(self, value: dict[str, Any]) -> str:
        """The first run that was asked for, of many, that the response is not about; or nothing.

        A gateway that mixes up responses would otherwise put the rows of one run into another.
        """
        for name, run in self.variables.items():
            if RUN_ALIAS.fullmatch(name):
                found = value.get(name, _MISSING)
                if found is _MISSING or not is_same(getattr(found, "name", None), run):
                    return f"run {run}"
        return ""

    def _value(self, data: Any) -> Any:
        return _reached(data, self.at)

    def _decoder(self) -> msgspec.json.Decoder[_Response[Any]]:
        return _decoder((self.answer, self.at, self.about and (self.about.step, self.about.field)))

    def _other(self, about: About, data: Any) -> str | None:
        """What the response is about, if that is something else."""
        names = [step.removesuffix("?") for step in self.at]
        end = names.index(about.step) + 1 if about.step in names else len(names)
        found = _reached(data, self.at[:end])
        if found and about.step not in names:
            found = getattr(found, about.step)
        name: str | None = found and getattr(found, _attribute((type(found), about.field)))
        return None if is_same(name, about.expected) else name


def is_same(name: str | None, expected: str) -> bool:
    """Whether this may be the name of the same thing: databases often ignore case."""
    return name is None or name.casefold() == expected.casefold()


def refusal(
    status: int,
    body: bytes,
    *,
    operation: str | None = None,
    url: str | None = None,
    redirects_to: str | None = None,
) -> CommError:
    """The exception for a response that is not a success, with the server's message."""
    if redirects_to:
        words = (
            f"it redirects to {redirects_to}, and only downloads are redirected. If your W&B is"
            " there, change the base URL."
        )
    else:
        words = _words(_problems(body)) or _quote(body) or "no message"
    kind = _BY_STATUS.get(status, ServerError if status >= 500 else CommError)
    return kind(
        f"{operation or 'The request'}: W&B answered {status}: {words}",
        status=status,
        operation=operation,
        url=url,
    )


class _Home(msgspec.Struct, rename="camel"):
    name: str | None = None
    entity_name: str | None = None


class Done(msgspec.Struct):
    """The data of a mutation whose response says at most whether it was carried out."""

    success: bool | None = None


class _Problem(msgspec.Struct):
    message: str = ""


class _Response(msgspec.Struct, Generic[T]):
    data: T | None = None
    errors: list[_Problem] | None = None


class _ErrorBody(msgspec.Struct):
    errors: list[_Problem] | None = None
    error: str | _Problem | None = None


def _check_text(body: bytes) -> None:
    """Refuse bytes that are not valid in JSON.

    The decoder does not check keys that it skips: the value of a corrupt key would be missing.
    """
    if not body.isascii():
        body.decode()
    if b"\0" in body:
        raise msgspec.DecodeError("JSON has no byte 0")


class _Envelope(msgspec.Struct):
    """An object of one field on the path to a value."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"  # the value may be a link


def data_type(answer: Any, at: tuple[str, ...], about: tuple[str, str] | None = None) -> Any:
    """The type of a response's `data` that has such a value at the end of the path.

    `about` is a step of the path, and a field that the object there has too.
    """
    for place in reversed(range(len(at))):
        field = at[place].removesuffix("?")
        kind = answer if field == at[place] else answer | None
        fields: list[Any] = [(field, kind)]
        if about and place and at[place - 1].removesuffix("?") == about[0]:
            fields.append((about[1], str | None, None))
        if not place and field == "project":
            fields.append(("home", _Home | None, None))
        answer = msgspec.defstruct(f"Envelope_{field}", fields, bases=(_Envelope,))
    return answer


def _reached(data: Any, at: tuple[str, ...]) -> Any:
    """The value at the end of the path, or None if a step of it is null."""
    for step in at:
        if data is None:
            return None
        data = getattr(data, step.removesuffix("?"))
    return data


@cache
def _attribute(kind_field: tuple[Any, str]) -> str:
    """The attribute of a struct that has a field of the response."""
    kind, field = kind_field
    return next(f.name for f in msgspec.structs.fields(kind) if f.encode_name == field)


@cache
def _decoder(
    answer_at: tuple[Any, tuple[str, ...], tuple[str, str] | None],
) -> msgspec.json.Decoder[_Response[Any]]:
    kind: Any = _Response
    return msgspec.json.Decoder(kind[data_type(*answer_at)])


def _raise_errors(name: str, problems: list[_Problem] | None, data: object) -> None:
    if problems:
        words = _words(problems)
        raise GraphQLError(
            f"{name}: {words}",
            data=data,
            may_pass=bool(_TEMPORARY.search(words)),
            status=200,
            operation=name,
        )


def _words(problems: list[_Problem]) -> str:
    """What errors say, as far as a person would read it."""
    words = [_cut(problem.message) for problem in problems[:_MOST_ERRORS]]
    more = len(problems) - len(words)
    return "; ".join(words) + (f"; and {more:,} errors more" if more else "")


def _cut(message: str) -> str:
    return message if len(message) <= _LONGEST_ERROR else message[:_LONGEST_ERROR] + "…"


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
