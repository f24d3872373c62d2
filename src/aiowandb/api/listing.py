"""The base class of all lists: they are read page by page, on demand."""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing
from typing import Any, Generic, TypeVar, overload

from aiowandb.arguments import Check, FixedAttributes, Unfit, checks
from aiowandb.concurrency.tasks import AsyncOnly, Items, Stream
from aiowandb.net import Session

T = TypeVar("T")


def _place(value: Any) -> int | slice:
    if isinstance(value, slice):
        ends = (value.start, value.stop, value.step)
        if value.step == 0 or not all(end is None or hasattr(end, "__index__") for end in ends):
            raise Unfit
        return value
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise Unfit
    return operator.index(value)


_PLACE = Check("a whole number, or a slice like [10:20]", _place)


class Listing(AsyncOnly, FixedAttributes, ABC, Generic[T]):
    """The results of a query. Nothing is sent until the list is used."""

    _all_at_once = ", or take all items with `await ....to_list()`"
    _counted = "; `await ....count()` counts them"

    def __init__(self, session: Session) -> None:
        session.require_open()
        self._session = session

    @abstractmethod
    def _pages(self) -> AsyncGenerator[list[T]]:
        """Requests the pages one after another."""

    @abstractmethod
    async def count(self) -> int:
        """The number of items."""

    def __aiter__(self) -> Stream[T]:
        return Items(self.pages())

    def pages(self) -> Stream[list[T]]:
        """The items in lists of `per_page`, as W&B sends them."""
        return self._session.ahead(self._pages())

    @overload
    def __getitem__(self, index: int) -> Awaitable[T]: ...

    @overload
    def __getitem__(self, index: slice) -> Awaitable[list[T]]: ...

    def __getitem__(self, index: int | slice) -> Awaitable[T] | Awaitable[list[T]]:
        return self._at(_PLACE("index", index))

    @checks()
    async def to_list(self) -> list[T]:
        """All items."""
        async with aclosing(self.__aiter__()) as items:
            return [item async for item in items]

    async def _at(self, index: Any) -> Any:
        with self._session.limited(f"{type(self).__name__}[...]"):
            return await (self._slice(index) if isinstance(index, slice) else self._item(index))

    async def _item(self, index: int) -> T:
        place = index if index >= 0 else index + await self.count()
        found = await self._slice(slice(place, place + 1)) if place >= 0 else []
        if not found:
            raise IndexError(
                f"index {index} is out of range: the list has {await self.count()} items"
            )
        return found[0]

    async def _slice(self, wanted: slice) -> list[T]:
        ends = (wanted.start, wanted.stop, wanted.step)
        if any(end is not None and end < 0 for end in ends):
            places = range(await self.count())[wanted]
            found = await self._first(max(places, default=-1) + 1)
            return [found[place] for place in places if place < len(found)]
        return (await self._first(wanted.stop))[wanted]

    async def _first(self, most: int | None) -> list[T]:
        """The first items, at least `most` of them if there are that many; None means all."""
        found: list[T] = []
        async with aclosing(self._pages()) as pages:
            async for page in pages:
                found += page
                if most is not None and len(found) >= most:
                    break
        return found
