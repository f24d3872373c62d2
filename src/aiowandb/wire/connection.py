"""Lists in GraphQL: pages of edges, and the cursor of the next page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import msgspec

from aiowandb.wire.lenient import Int64

T = TypeVar("T")
R = TypeVar("R")


class PageInfo(msgspec.Struct, frozen=True, rename="camel", gc=False):
    has_next_page: bool = False
    end_cursor: str | None = None


class Edge(msgspec.Struct, Generic[T], gc=False):
    node: T | None
    cursor: str | None = None


class Connection(msgspec.Struct, Generic[T], rename="camel"):
    """A page of a list."""

    edges: list[Edge[T]] = []
    page_info: PageInfo = PageInfo()
    total_count: Int64 | None = None

    @property
    def nodes(self) -> list[T]:
        return [edge.node for edge in self.edges if edge.node is not None]

    def mapped(self, make: Callable[[T], R]) -> Connection[R]:
        """The same page with each node converted."""
        edges = [Edge(make(edge.node), edge.cursor) for edge in self.edges if edge.node is not None]
        return Connection(edges, self.page_info, self.total_count)

    @property
    def next_cursor(self) -> str | None:
        """The cursor of the next page, or None after the last one.

        Some lists of W&B continue after the cursor of the last edge, others after that of the
        page. The documents ask for the right one only.
        """
        if not self.page_info.has_next_page:
            return None
        return self.last_cursor if self.edges else self.page_info.end_cursor

    @property
    def last_cursor(self) -> str | None:
        """The cursor of the last item: what is added to the list later comes after it."""
        return (self.edges[-1].cursor or self.page_info.end_cursor) if self.edges else None
