"""Lists of artifacts: those that a run has logged or used, or the versions of one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from operator import attrgetter
from typing import Protocol

from aiowandb.errors import NotFoundError
from aiowandb.net import Session
from aiowandb.net.paging import pages_of
from aiowandb.paths import ArtifactRef, RunRef
from aiowandb.wire.artifact_record import ArtifactNode, ArtifactRecord
from aiowandb.wire.artifacts import Direction, artifacts_of_run, versions
from aiowandb.wire.connection import Connection
from aiowandb.wire.runs import run_not_found

ARTIFACTS_PER_PAGE = 100


class ArtifactList(Protocol):
    """A list of artifacts at W&B."""

    def pages(self) -> AsyncGenerator[list[ArtifactRecord]]:
        """The artifacts, page by page."""
        ...

    async def count(self) -> int:
        """How many there are."""
        ...


class RunArtifacts:
    """What a run has logged (its output) or used (its input)."""

    def __init__(
        self,
        session: Session,
        ref: RunRef,
        direction: Direction,
        per_page: int = ARTIFACTS_PER_PAGE,
        *,
        fresh: bool = False,
        linked: bool = False,
    ) -> None:
        self._session = session
        self._ref = ref
        self._linked = linked
        self._direction: Direction = direction
        self._fresh = fresh
        self._per_page = per_page

    def pages(self) -> AsyncGenerator[list[ArtifactRecord]]:
        async def page(cursor: str | None) -> Connection[ArtifactRecord]:
            return (await self._page(cursor)).mapped(ArtifactNode.record)

        return pages_of(f"the artifacts of {self._ref}", page)

    def nodes(self) -> AsyncGenerator[list[ArtifactNode]]:
        """The same as W&B sends them: with their links, if the list is of `linked` ones."""
        return pages_of(f"the artifacts of {self._ref}", self._page)

    async def count(self) -> int:
        return (await self._page(None)).total_count or 0

    async def _page(self, cursor: str | None) -> Connection[ArtifactNode]:
        asked = artifacts_of_run(
            self._ref, self._direction, self._per_page, cursor, linked=self._linked
        )
        page = await self._session.ask_cached(asked, fresh=self._fresh)
        if page is None:
            raise run_not_found(self._ref, asked.name)
        return page


class ArtifactVersions:
    """The committed versions of an artifact, those with all of the tags."""

    def __init__(
        self,
        session: Session,
        where: Callable[[], Awaitable[ArtifactRef]],
        type_name: str,
        order: str | None,
        tags: Sequence[str],
        per_page: int,
        *,
        fresh: bool = False,
    ) -> None:
        self._session = session
        self._where = where
        self._type_name = type_name
        self._order = order
        self._tags = frozenset(tags)
        self._fresh = fresh
        self._per_page = per_page

    async def pages(self) -> AsyncGenerator[list[ArtifactRecord]]:
        listing = pages_of(
            "the versions of an artifact", self._page, key=attrgetter("id", "version")
        )
        async with aclosing(listing) as pages:
            async for page in pages:
                if matching := [record for record in page if self._tags.issubset(record.tags)]:
                    yield matching

    async def count(self) -> int:
        if self._tags:  # W&B only counts them all
            async with aclosing(self.pages()) as pages:
                return sum([len(page) async for page in pages])
        return (await self._page(None)).total_count or 0

    async def _page(self, cursor: str | None) -> Connection[ArtifactRecord]:
        ref = await self._where()
        asked = versions(ref, self._type_name, self._order, self._per_page, cursor)
        page = await self._session.ask_cached(asked, fresh=self._fresh)
        if page is None:
            raise NotFoundError(
                f"Could not find an artifact {ref.entity}/{ref.project}/{ref.collection}"
                f" of type {self._type_name}.",
                operation=asked.name,
            )
        return page.records(ref)
