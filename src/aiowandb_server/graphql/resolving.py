"""Declares plain functions as resolvers: `@resolvers("Project", "runs")`."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from graphql import GraphQLInterfaceType, GraphQLObjectType

from aiowandb_server.graphql.context import LOOKUP
from aiowandb_server.text_limits import check_input

if TYPE_CHECKING:
    from collections.abc import Callable

    from graphql import GraphQLSchema

    from aiowandb_server.graphql.context import Context

F = TypeVar("F", bound="Callable[..., Any]")
DEFAULT_PAGE = 50
MAX_PAGE = 1000


class Resolvers:
    """Resolvers of one subject.

    Decorated functions are called as `resolver(source, context, **arguments)`; `fields` declares
    functions that need only the source. A field without a resolver is read from the attribute of
    its name (`displayName` from `display_name`) or from a dict.
    """

    def __init__(self) -> None:
        self._functions: dict[tuple[str, str], Callable[..., Any]] = {}
        self._plain: set[tuple[str, str]] = set()

    def __call__(self, type_names: str | tuple[str, ...], field_name: str) -> Callable[[F], F]:
        names = (type_names,) if isinstance(type_names, str) else type_names

        def declare(function: F) -> F:
            for name in names:
                self._functions[name, field_name] = function
            return function

        return declare

    def mutation(self, field_name: str) -> Callable[[F], F]:
        """Declare a mutation: called as `mutation(context, input)`."""

        def declare(function: F) -> F:
            def resolve(_: None, context: Context, **arguments: Any) -> Any:
                context.look_up_entities_again()
                # Each item is looked up, or changed, before there is an answer to count.
                context.count_field(LOOKUP * check_input(arguments["input"]))
                return function(context, arguments["input"])

            self._functions["Mutation", field_name] = resolve
            return function

        return declare

    def fields(self, type_name: str, **functions: Callable[[Any], Any]) -> None:
        for field_name, function in functions.items():
            self._functions[type_name, field_name] = _of_source(function)
            self._plain.add((type_name, field_name))

    def bind(self, schema: GraphQLSchema) -> None:
        for (type_name, field_name), function in self._functions.items():
            owner = schema.type_map[type_name]
            assert isinstance(owner, (GraphQLObjectType, GraphQLInterfaceType))  # noqa: S101
            weight = 1 if (type_name, field_name) in self._plain else LOOKUP
            owner.fields[field_name].resolve = _adapted(function, weight)


def read_field(source: Any, info: Any, **_: Any) -> Any:
    """Resolve a field without a resolver; in a dict, a costly value can be a function."""
    info.context.count_field()
    if isinstance(source, dict):
        member = source.get(info.field_name)
        return member() if callable(member) else member
    return getattr(source, _snake_case(info.field_name), None)


def name_of_type(value: Any, info: Any, abstract_type: Any) -> str:  # noqa: ARG001
    """The type of a value whose field is an interface or a union."""
    kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
    if kind is not None:
        return "ArtifactSequence" if kind == "SEQUENCE" else "ArtifactPortfolio"
    # The class of a record has the name of its type in the schema: `RunRow` for `Run`.
    return type(value).__name__.removesuffix("Row")


def page_size(first: int | None, default: int = DEFAULT_PAGE, limit: int = MAX_PAGE) -> int:
    return default if first is None else max(1, min(first, limit))


def connection(
    items: list[Any], cursors: list[str], *, has_next: bool, **more: Any
) -> dict[str, Any]:
    """A page of a list as a GraphQL connection."""
    return {
        "edges": [
            {"node": item, "cursor": cursor} for item, cursor in zip(items, cursors, strict=True)
        ],
        "pageInfo": {"endCursor": cursors[-1] if cursors else None, "hasNextPage": has_next},
        **more,
    }


def unpaged(items: list[Any]) -> dict[str, Any]:
    """A list without paging, as a GraphQL connection."""
    cursors = [str(index) for index in range(len(items))]
    return connection(items, cursors, has_next=False, totalCount=len(items))


def _adapted(function: Callable[..., Any], weight: int) -> Callable[..., Any]:
    def resolve(source: Any, info: Any, **arguments: Any) -> Any:
        context: Context = info.context
        lists = (value for value in arguments.values() if isinstance(value, list))
        context.count_field(weight + sum(map(len, lists)))
        named = {_snake_case(name): argument for name, argument in arguments.items()}
        return function(source, context, **named)

    return resolve


def _of_source(function: Callable[[Any], Any]) -> Callable[..., Any]:
    def resolve(source: Any, _: Context, **__: Any) -> Any:
        return function(source)

    return resolve


@cache
def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])([A-Z]+)", r"_\1", name).lower()
