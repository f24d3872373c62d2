"""Threads that the event loop feeds: neither side waits for ever, whichever stops first."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest

from aiowandb.concurrency.threads import Inbox, feed_thread, nothing

pytestmark = pytest.mark.anyio
Feed = Callable[[Inbox[int]], Awaitable[None]]


def feeding(count: int) -> Feed:
    async def feed(inbox: Inbox[int]) -> None:
        for number in range(count):
            await inbox.put(number)

    return feed


async def test_a_thread_gets_all_items_in_their_order() -> None:
    assert await feed_thread(list, feeding(1_000), 4) == list(range(1_000))


async def test_a_thread_that_needs_nothing_gives_its_result() -> None:
    assert await feed_thread(lambda _: "made", nothing, 1) == "made"


async def test_a_thread_that_fails_stops_its_feeder() -> None:
    def fail(inbox: Inbox[int]) -> None:
        next(inbox)
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        await feed_thread(fail, feeding(1_000), 4)


async def test_a_thread_that_ends_early_stops_its_feeder() -> None:
    assert await feed_thread(next, feeding(1_000), 4) == 0


async def test_a_feeder_that_fails_stops_the_thread() -> None:
    async def fail(inbox: Inbox[int]) -> None:
        await inbox.put(1)
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        await feed_thread(list, fail, 4)


@pytest.mark.parametrize("is_busy", [False, True])
async def test_a_thread_that_is_cancelled_is_waited_for(is_busy: bool) -> None:
    ended: list[bool] = []

    def work(inbox: Inbox[int]) -> None:
        try:
            anyio.from_thread.run_sync(begun.set)
            for _ in inbox.checked(iter(int, 1)) if is_busy else inbox:
                pass
        finally:
            ended.append(True)

    begun = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(feed_thread, work, nothing if is_busy else feed_for_ever, 1)
        await begun.wait()
        tasks.cancel_scope.cancel()
    assert ended == [True]


async def feed_for_ever(_: Inbox[Any]) -> None:
    await anyio.sleep_forever()


async def test_more_threads_than_there_is_room_for_do_not_wait_for_one_another() -> None:
    """Each is fed by what another thread makes."""
    rooms = int(anyio.to_thread.current_default_thread_limiter().total_tokens)

    async def feed(inbox: Inbox[int]) -> None:
        for number in range(3):
            await inbox.put(await anyio.to_thread.run_sync(abs, number))

    async def one() -> None:
        assert await feed_thread(list, feed, 1) == [0, 1, 2]

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            for _ in range(rooms + 5):
                tasks.start_soon(one)
