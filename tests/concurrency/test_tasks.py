"""Errors are raised as themselves, and leaving early leaves nothing behind."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from aiowandb.concurrency.background import BackgroundTasks
from aiowandb.concurrency.read_ahead import ReadAhead
from aiowandb.concurrency.tasks import Items, each_of, gather, task_group
from aiowandb.errors import AiowandbWarning
from aiowandb.user_warnings import warn

pytestmark = pytest.mark.anyio


class Interrupt(BaseException):
    """Something like KeyboardInterrupt that the test's own event loop does not heed."""


async def fail(error: BaseException) -> None:
    raise error


async def test_an_error_of_a_task_is_not_wrapped_in_a_group() -> None:
    with pytest.raises(KeyError, match="lost"):
        async with task_group() as tasks:
            tasks.start_soon(fail, KeyError("lost"))
            await anyio.sleep_forever()


async def test_an_interrupt_weighs_more_than_an_error() -> None:
    with pytest.raises(Interrupt):
        async with task_group() as outer:
            outer.start_soon(fail, ValueError())
            outer.start_soon(fail, Interrupt())


class Numbers:
    """Counts for ever and knows whether it was closed."""

    def __init__(self) -> None:
        self.made = 0
        self.closed = False

    async def __call__(self) -> AsyncGenerator[int]:
        try:
            while True:
                self.made += 1
                yield self.made
                await anyio.lowlevel.checkpoint()
        finally:
            self.closed = True


async def test_reading_ahead_stops_at_its_bound_and_closes_what_it_reads() -> None:
    numbers = Numbers()
    async with aclosing(BackgroundTasks()) as tasks:
        ahead = ReadAhead(numbers(), tasks, max_ahead=2)
        assert await anext(ahead) == 1
        await anyio.wait_all_tasks_blocked()
        assert numbers.made == 1 + 2
        await ahead.aclose()
    assert numbers.closed


async def test_a_loop_that_is_left_ends_the_reading() -> None:
    numbers = Numbers()
    async with aclosing(BackgroundTasks()) as tasks:
        async for number in ReadAhead(numbers(), tasks):
            assert number == 1
            break
        await anyio.wait_all_tasks_blocked()
        assert numbers.closed


async def test_an_error_while_reading_ahead_reaches_the_reader_after_the_items() -> None:
    async def broken() -> AsyncGenerator[int]:
        yield 1
        raise KeyError("lost")

    async with aclosing(BackgroundTasks()) as tasks:
        ahead = ReadAhead(broken(), tasks)
        assert await anext(ahead) == 1
        with pytest.raises(KeyError, match="lost"):
            await anext(ahead)


@pytest.mark.filterwarnings("error")
async def test_a_warning_that_is_an_error_ends_the_reading() -> None:
    is_closed = anyio.Event()

    async def odd() -> AsyncGenerator[int]:
        try:
            while True:
                warn("odd")
                warn("odd")  # never shown: the first one ends the reading
                yield 1
        finally:
            is_closed.set()

    async with aclosing(BackgroundTasks()) as tasks:
        ahead = ReadAhead(odd(), tasks)
        with pytest.raises(AiowandbWarning, match="odd"):
            await anext(ahead)
        with anyio.fail_after(30):
            await is_closed.wait()
        with pytest.raises(StopAsyncIteration):
            await anext(ahead)


async def test_an_error_after_the_reader_has_left_is_dropped() -> None:
    is_left = anyio.Event()

    async def broken() -> AsyncGenerator[int]:
        await is_left.wait()
        raise KeyError("lost")
        yield

    async with aclosing(BackgroundTasks()) as tasks:
        held = [ReadAhead(broken(), tasks)]
        await anyio.wait_all_tasks_blocked()
        await anyio.to_thread.run_sync(held.clear)  # as the garbage of any thread
        is_left.set()
        await anyio.wait_all_tasks_blocked()


async def test_pages_are_read_item_by_item() -> None:
    async def pages() -> AsyncGenerator[list[int]]:
        for page in ([1, 2], [], [3]):
            yield page

    assert [item async for item in Items(pages())] == [1, 2, 3]


async def test_closing_stops_the_work_even_if_the_caller_is_cancelled() -> None:
    stopped = False

    async def slow_to_stop() -> AsyncGenerator[int]:
        nonlocal stopped
        try:
            yield 1
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.05)
            stopped = True

    async with aclosing(BackgroundTasks()) as tasks:
        for is_cancelled in (False, True):
            stopped = False
            ahead = ReadAhead(slow_to_stop(), tasks, max_ahead=2)
            assert await anext(ahead) == 1
            with anyio.CancelScope() as scope:
                if is_cancelled:
                    scope.cancel()
                await ahead.aclose()
            assert stopped


@pytest.mark.parametrize("use", ["gather", "each_of"])
async def test_reading_ahead_stops_with_its_task_group(use: str) -> None:
    numbers = Numbers()

    async def refuse(number: int) -> None:
        raise KeyError(number)

    async with aclosing(BackgroundTasks()) as tasks:
        ahead = ReadAhead(numbers(), tasks)
        if use == "gather":
            with pytest.raises(KeyError):
                await gather(ahead, refuse, 1)
        else:
            every = each_of(ahead)
            await anext(every)
            await every.aclose()
        assert numbers.closed
