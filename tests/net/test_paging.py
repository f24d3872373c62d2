"""Lists page by page, also from faulty servers."""

from __future__ import annotations

from contextlib import aclosing

import pytest

from aiowandb.errors import AiowandbWarning, ServerError
from aiowandb.net.paging import all_pages_of, pages_of
from aiowandb.wire.connection import Connection, Edge, PageInfo

pytestmark = pytest.mark.anyio


def page(*items: int, then: str | None = None, of: int | None = None) -> Connection[int]:
    edges = [Edge(item, then) for item in items]
    return Connection(edges, PageInfo(then is not None, then), of)


async def all_of(script: Pages) -> None:
    async with aclosing(pages_of("the items", script.ask, key=int)) as pages:
        async for _ in pages:
            pass


class Pages:
    """The pages of a script, one an ask."""

    def __init__(self, *pages: Connection[int]) -> None:
        self.pages = list(pages)

    async def ask(self, cursor: str | None) -> Connection[int]:
        return self.pages.pop(0)

    async def all(self) -> list[int]:
        async with aclosing(all_pages_of("the items", self.ask, lambda item: item)) as pages:
            return [item async for page in pages for item in page]


async def test_pages_follow_each_other() -> None:
    script = Pages(page(1, 2, then="a"), page(then="b"), page(3))
    assert [items async for items in pages_of("the items", script.ask, key=int)] == [[1, 2], [3]]
    script = Pages(page(1, 2, then="a"), page(3))
    assert [items async for items in pages_of("the items", script.ask, key=int)] == [[1, 2], [3]]


async def test_a_list_that_goes_in_a_circle_is_an_error() -> None:
    script = Pages(page(1, then="a"), page(2, then="b"), page(3, then="a"))
    with pytest.raises(ServerError, match="lists the items in a loop"):
        await all_of(script)


async def test_a_page_that_comes_again_under_new_cursors_is_an_error() -> None:
    script = Pages(*[page(1, 2, then=f"{number}") for number in range(9)])
    with pytest.raises(ServerError, match="lists the items in a loop"):
        await all_of(script)
    assert len(script.pages) == 7


async def test_pages_without_items_come_to_an_end() -> None:
    script = Pages(page(1, then="a"), *[page(then=f"{number}") for number in range(99)])
    with pytest.raises(ServerError, match="lists the items without end: 4 pages with nothing"):
        await all_of(script)


async def test_items_missing_in_one_listing_come_from_a_second_one() -> None:
    script = Pages(page(1, then="a", of=3), page(3, of=3), page(1, 2, 3, of=3))
    assert await script.all() == [1, 3, 2]


async def test_duplicates_are_dropped() -> None:
    assert await Pages(page(1, 2, then="a", of=3), page(2, 3, of=3)).all() == [1, 2, 3]


async def test_a_list_that_changes_is_not_an_error() -> None:
    assert await Pages(page(1, 2, then="a", of=3), page(of=2)).all() == [1, 2]


async def test_a_list_that_stays_shorter_than_its_count_is_an_error() -> None:
    script = Pages(page(of=2), page(1, of=2))
    with pytest.raises(ServerError, match="counts 2 of the items but lists only 1"):
        await script.all()


async def test_an_item_that_comes_twice_is_given_once() -> None:
    script = Pages(page(1, 1, 2, then="a"), page(2, 3, then="b"), page(3, 4))
    listing = pages_of("the items", script.ask, key=int)
    assert [item async for items in listing for item in items] == [1, 2, 3, 4]
    script = Pages(page(1, 1, 2, then="a", of=3), page(2, 3, of=3))
    assert await script.all() == [1, 2, 3]


async def test_a_list_that_is_shorter_than_its_count_is_warned_of() -> None:
    script = Pages(page(1, 2, then="a", of=4), page(3, of=4))
    with pytest.warns(AiowandbWarning, match="W&B counts 4 of the items but lists only 3"):
        await all_of(script)
    await all_of(Pages(page(1, 2, then="a", of=4), page(3, of=3)))  # one was deleted meanwhile
