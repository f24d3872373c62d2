"""Errors come out as themselves, and whoever leaves early leaves nothing behind."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import anyio
import anyio.lowlevel
import pytest

from aiowandb.tasks import read_ahead, task_group

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
    async with read_ahead(numbers(), max_ahead=2) as ahead:
        assert await ahead.receive() == 1
        await anyio.wait_all_tasks_blocked()
        # one given, two waiting, one in hand
        assert numbers.made == 4
    assert numbers.closed


async def test_an_error_while_reading_ahead_reaches_the_reader() -> None:
    async def broken() -> AsyncGenerator[int]:
        yield 1
        raise KeyError("lost")

    with pytest.raises(KeyError, match="lost"):
        async with read_ahead(broken()) as ahead:
            async for _ in ahead:
                pass
