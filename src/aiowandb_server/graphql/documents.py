"""Documents of GraphQL: parsed and checked, and kept for the next request that has the same one."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING

from graphql import DocumentNode, GraphQLError, GraphQLSchema, parse, specified_rules, validate
from graphql.validation import (
    NoUnusedFragmentsRule,
    NoUnusedVariablesRule,
    OverlappingFieldsCanBeMergedRule,
    VariablesInAllowedPositionRule,
)

from aiowandb_server.errors import RequestError
from aiowandb_server.graphql.cost import MAX_LENGTH, MAX_TOKENS, check_cost
from aiowandb_server.store.metering import charge

if TYPE_CHECKING:
    from collections.abc import Sequence

# W&B does not enforce these rules, and its clients rely on that.
_LENIENT = (
    NoUnusedFragmentsRule,
    NoUnusedVariablesRule,
    OverlappingFieldsCanBeMergedRule,
    VariablesInAllowedPositionRule,
)
RULES = [rule for rule in specified_rules if rule not in _LENIENT]
# Each is described with the text of what is wrong, which may be all of the document.
_MAX_PROBLEMS = 5
# In memory, for a character of the text and for a token: whichever is less.
_SIZE_OF_CHARACTER = 220
_SIZE_OF_TOKEN = 650
# All documents of the SDK have 100,000 characters together, and none of them more than 2,000.
_MAX_KEPT = 128 * 1024
_MAX_KEPT_LENGTH = 16 * 1024


class InvalidDocumentError(Exception):
    """The text is not a document that this schema can answer."""

    def __init__(self, problems: Sequence[GraphQLError]) -> None:
        super().__init__(*problems)
        self.problems = problems


class Documents:
    """The valid documents that were asked for last, bounded by the length of their texts.

    A parsed document has hundreds of objects, which take two hundred times the memory of its text,
    and which the garbage collector looks at again and again while all threads wait.
    """

    def __init__(self, schema: GraphQLSchema, max_kept: int = _MAX_KEPT) -> None:
        self._schema = schema
        self._left = max_kept
        self._known: OrderedDict[str, DocumentNode] = OrderedDict()
        self._lock = Lock()

    def find(self, text: str, operation_name: str | None) -> DocumentNode:
        """The document. Raises InvalidDocumentError, and RequestError if it asks for too much."""
        with self._lock:
            if (known := self._known.get(text)) is not None:
                self._known.move_to_end(text)
        document = known or _parsed(text)
        check_cost(document, operation_name)
        if known is None:
            if problems := validate(self._schema, document, RULES, _MAX_PROBLEMS):
                raise InvalidDocumentError(problems)
            self._keep(text, document)
        return document

    def _keep(self, text: str, document: DocumentNode) -> None:
        if len(text) > _MAX_KEPT_LENGTH:
            return
        with self._lock:
            if text not in self._known:
                self._known[text] = document
                self._left -= len(text)
            while self._left < 0:
                oldest, _ = self._known.popitem(last=False)
                self._left += len(oldest)


def _parsed(text: str) -> DocumentNode:
    if len(text) > MAX_LENGTH:
        raise RequestError(
            f"the query has {len(text)} characters, and {MAX_LENGTH} are allowed", 413
        )
    charge(min(len(text) * _SIZE_OF_CHARACTER, MAX_TOKENS * _SIZE_OF_TOKEN))
    try:
        return parse(text, max_tokens=MAX_TOKENS)
    except GraphQLError as error:
        raise InvalidDocumentError([error]) from error
    except RecursionError:
        raise InvalidDocumentError([GraphQLError("the document is nested too deeply")]) from None
