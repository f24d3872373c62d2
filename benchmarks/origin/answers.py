"""GraphQL answers put together from prepared pieces: any document, with any aliases."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import orjson
from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
    parse,
    value_from_ast_untyped,
)

from benchmarks.origin.project import Fields, Piece


class Unanswerable(Exception):
    """The document asks for what has not been prepared."""


def answer(root: Fields, body: bytes) -> bytes:
    """The complete response to a request."""
    request = orjson.loads(body)
    document = _Document.of(request["query"])
    variables = document.defaults | (request.get("variables") or {})
    parts = [b'{"data":']
    _Writer(document.fragments, variables, parts).write(root, document.selection)
    parts.append(b"}")
    return b"".join(parts)


class _Document:
    def __init__(self, parsed: DocumentNode) -> None:
        nodes = parsed.definitions
        self.fragments = {n.name.value: n for n in nodes if isinstance(n, FragmentDefinitionNode)}
        operation = next(n for n in nodes if isinstance(n, OperationDefinitionNode))
        self.selection = operation.selection_set
        self.defaults = {
            variable.variable.name.value: value_from_ast_untyped(variable.default_value)
            for variable in operation.variable_definitions or ()
            if variable.default_value
        }

    @staticmethod
    @functools.cache
    def of(text: str) -> _Document:
        return _Document(parse(text, no_location=True))


class _Writer:
    def __init__(
        self,
        fragments: Mapping[str, FragmentDefinitionNode],
        variables: Mapping[str, Any],
        parts: list[bytes],
    ) -> None:
        self._fragments = fragments
        self._variables = dict(variables)
        self._parts = parts

    def write(self, piece: Piece, selection: SelectionSetNode | None) -> None:
        if isinstance(piece, bytes):
            self._parts.append(piece)
        elif isinstance(piece, Mapping):
            self._write_fields(piece, selection)
        else:
            self._write_list(piece, selection)

    def _write_fields(
        self,
        fields: Mapping[str, Piece | Callable[[Mapping[str, Any]], Piece]],
        selection: SelectionSetNode | None,
    ) -> None:
        if selection is None:
            raise Unanswerable("a selection is missing")
        opening = b"{"
        for node in self._selected(selection):
            found = fields.get(node.name.value)
            if found is None:
                raise Unanswerable(f"Cannot query field {node.name.value!r}")
            alias = node.alias or node.name
            self._parts.append(b'%b"%b":' % (opening, alias.value.encode()))
            self.write(
                found(self._arguments(node)) if callable(found) else found, node.selection_set
            )
            opening = b","
        self._parts.append(b"}")

    def _write_list(self, items: Sequence[Piece], selection: SelectionSetNode | None) -> None:
        opening = b"["
        for item in items:
            self._parts.append(opening)
            self.write(item, selection)
            opening = b","
        self._parts.append(b"]" if items else b"[]")

    def _selected(self, selection: SelectionSetNode) -> Iterator[FieldNode]:
        for node in selection.selections:
            if isinstance(node, FieldNode):
                yield node
            elif isinstance(node, InlineFragmentNode):
                yield from self._selected(node.selection_set)
            elif isinstance(node, FragmentSpreadNode):
                yield from self._selected(self._fragments[node.name.value].selection_set)

    def _arguments(self, node: FieldNode) -> dict[str, Any]:
        return {
            argument.name.value: value_from_ast_untyped(argument.value, self._variables)
            for argument in node.arguments or ()
        }
