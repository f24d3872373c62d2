"""How much work a document asks for, estimated before it is executed.

A few hundred bytes can ask for millions of fields, by fragments that spread fragments. Nested
lists are counted during execution, see `Context.count_field`, because their lengths are not known
before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    OperationDefinitionNode,
)

from aiowandb_server.errors import RequestError

if TYPE_CHECKING:
    from graphql import DocumentNode, SelectionSetNode

# The longest document of the SDK has 2,000 characters; a batch of 200 runs has 100,000.
MAX_LENGTH = 400_000
MAX_TOKENS = 60_000
# Fields in the document, with fragments expanded.
_MAX_FIELDS = 20_000
# Fields with a selection of their own are looked up, which costs a hundred times a plain field.
_MAX_OBJECTS = 2_500


def check_cost(document: DocumentNode, operation_name: str | None) -> None:
    """Raise RequestError if the operation asks for more than a server can answer at once."""
    costs = _Costs(document)
    for operation in document.definitions:
        if not isinstance(operation, OperationDefinitionNode):
            continue
        if operation_name is None or (operation.name and operation.name.value == operation_name):
            costs.check(operation.selection_set)


class _Costs:
    def __init__(self, document: DocumentNode) -> None:
        self._fragments = {
            node.name.value: node.selection_set
            for node in document.definitions
            if isinstance(node, FragmentDefinitionNode)
        }
        # Fields and objects of each fragment, which is counted once.
        self._known: dict[str, tuple[int, int]] = {}

    def check(self, selections: SelectionSetNode) -> None:
        try:
            fields, objects = self._count(selections)
        except RecursionError as error:
            raise RequestError("the document is nested too deeply") from error
        for what, found, limit in (
            ("fields", fields, _MAX_FIELDS),
            ("objects", objects, _MAX_OBJECTS),
        ):
            if found > limit:
                raise RequestError(
                    f"this query is too large: it asks for {found} {what}, "
                    f"and {limit} are allowed. Ask for less at once.",
                    413,
                )

    def _count(self, selections: SelectionSetNode) -> tuple[int, int]:
        fields = objects = 0
        for node in selections.selections:
            if isinstance(node, FieldNode):
                fields += 1
                if node.selection_set is None:
                    continue
                objects += 1
                inner = self._count(node.selection_set)
            elif isinstance(node, FragmentSpreadNode):
                inner = self._count_fragment(node.name.value)
            elif isinstance(node, InlineFragmentNode):
                inner = self._count(node.selection_set)
            else:
                continue
            fields, objects = fields + inner[0], objects + inner[1]
        return fields, objects

    def _count_fragment(self, name: str) -> tuple[int, int]:
        if name not in self._known:
            # Validation rejects a fragment inside itself; it is not counted here.
            self._known[name] = (0, 0)
            if name in self._fragments:
                self._known[name] = self._count(self._fragments[name])
        return self._known[name]
