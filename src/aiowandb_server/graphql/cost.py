"""How much work a document asks for, known before any of it is done.

A few hundred bytes can ask for millions of fields, by fragments that spread fragments and by lists
inside lists, and a long document costs sixty times its length in memory once it is parsed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    IntValueNode,
    OperationDefinitionNode,
    VariableNode,
)

from aiowandb_server.errors import RequestError
from aiowandb_server.graphql.resolving import DEFAULT_PAGE, MAX_PAGE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from graphql import DocumentNode, SelectionSetNode

# The longest document of the SDK has 2,000 characters; a batch of 200 runs has 100,000.
MAX_LENGTH = 400_000
MAX_TOKENS = 60_000
# Fields as they are written, fragments filled in.
_MAX_FIELDS = 20_000
# Fields of the answer, if each list is as long as its `first` allows.
_MAX_ANSWER_FIELDS = 1_000_000
# Fields that have fields are things that are looked up, which costs a hundred times a plain one.
_MAX_OBJECTS = 2_500
_PAGED = ("first", "last")


def check_cost(
    document: DocumentNode, operation_name: str | None, variables: Mapping[str, Any] | None
) -> None:
    """Raise RequestError if the operation asks for more than a server can answer at once."""
    for operation in document.definitions:
        if not isinstance(operation, OperationDefinitionNode):
            continue
        if operation_name is None or (operation.name and operation.name.value == operation_name):
            defaults = {
                variable.variable.name.value: int(variable.default_value.value)
                for variable in operation.variable_definitions or ()
                if isinstance(variable.default_value, IntValueNode)
            }
            _Costs(document, defaults | dict(variables or {})).check(operation.selection_set)


class _Costs:
    def __init__(self, document: DocumentNode, variables: Mapping[str, Any]) -> None:
        self._variables = variables
        self._fragments = {
            node.name.value: node.selection_set
            for node in document.definitions
            if isinstance(node, FragmentDefinitionNode)
        }
        # Fields written, objects written, fields answered. A fragment is counted once.
        self._known: dict[str, tuple[int, int, int]] = {}

    def check(self, selections: SelectionSetNode) -> None:
        try:
            fields, objects, answered = self._count(selections)
        except RecursionError as error:
            raise RequestError("the document is nested too deeply") from error
        for what, found, limit in (
            ("fields", fields, _MAX_FIELDS),
            ("objects", objects, _MAX_OBJECTS),
            ("fields in its answer", answered, _MAX_ANSWER_FIELDS),
        ):
            if found > limit:
                raise RequestError(
                    f"this query is too large: it asks for {found} {what}, "
                    f"and {limit} are allowed. Ask for less at once.",
                    status=413,
                )

    def _count(self, selections: SelectionSetNode) -> tuple[int, int, int]:
        fields = objects = answered = 0
        for node in selections.selections:
            if isinstance(node, FieldNode):
                fields, answered = fields + 1, answered + 1
                if node.selection_set is None:
                    continue
                inner = self._count(node.selection_set)
                fields += inner[0]
                objects += inner[1] + 1
                answered += inner[2] * self._length(node)
                continue
            if isinstance(node, FragmentSpreadNode):
                inner = self._count_fragment(node.name.value)
            elif isinstance(node, InlineFragmentNode):
                inner = self._count(node.selection_set)
            else:
                continue
            fields, objects, answered = (
                fields + inner[0],
                objects + inner[1],
                answered + inner[2],
            )
        return fields, objects, answered

    def _count_fragment(self, name: str) -> tuple[int, int, int]:
        if name not in self._known:
            # A fragment inside itself is what validation finds: here it counts for nothing.
            self._known[name] = (0, 0, 0)
            if name in self._fragments:
                self._known[name] = self._count(self._fragments[name])
        return self._known[name]

    def _length(self, node: FieldNode) -> int:
        """How many items a list has at most; 1 if the field is no list."""
        for argument in node.arguments or ():
            if argument.name.value in _PAGED:
                asked: Any = DEFAULT_PAGE
                if isinstance(argument.value, IntValueNode):
                    asked = int(argument.value.value)
                elif isinstance(argument.value, VariableNode):
                    asked = self._variables.get(argument.value.name.value)
                return max(1, min(asked, MAX_PAGE)) if type(asked) is int else DEFAULT_PAGE
        return DEFAULT_PAGE if node.selection_set and self._has_edges(node.selection_set) else 1

    def _has_edges(self, selections: SelectionSetNode) -> bool:
        """True for the connections of GraphQL, which are lists also without a `first`."""
        return any(
            isinstance(node, (FragmentSpreadNode, InlineFragmentNode))
            or (isinstance(node, FieldNode) and node.name.value == "edges")
            for node in selections.selections
        )
