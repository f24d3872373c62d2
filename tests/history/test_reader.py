"""Reading many runs can be stopped early."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import suppress
from functools import partial

import anyio
import httpx
import pytest

from aiowandb.config.settings import Settings
from aiowandb.errors import ServerError
from aiowandb.history.columns import rows_to_batch
from aiowandb.history.concurrent import scan_each
from aiowandb.history.pages import Page, ParquetPage
from aiowandb.history.scan import scan_system
from aiowandb.history.selection import Selection
from aiowandb.net import Session
from aiowandb.net.retry import RetryPolicy
from aiowandb.paths import RunRef

pytestmark = pytest.mark.anyio
REFS = [RunRef("local", "demo", name) for name in ("left", "read")]


def w_and_b(status: int) -> Session:
    """One that has but one answer."""
    settings = Settings.load(api_key="0" * 40, base_url="http://wandb.test", environ={})
    answer = httpx.Response(status, json={"data": {}})
    transport = httpx.MockTransport(lambda request: answer)
    return Session(settings, transport=transport, retry=RetryPolicy(first_wait=0))


async def test_a_run_whose_reader_has_left_may_fail_unnoticed() -> None:
    is_left = anyio.Event()

    async def pages(ref: RunRef) -> AsyncGenerator[Page]:
        if ref.run == "left":
            await is_left.wait()
            raise ServerError("too late")
        yield ParquetPage(rows_to_batch([{"_step": 0}]))

    async with w_and_b(200) as session, scan_each(session, REFS, pages) as lanes:
        (await anext(lanes)).close()
        is_left.set()
        await anyio.wait_all_tasks_blocked()
        async with await anext(lanes) as lane:
            assert [batch.num_rows async for batch in lane] == [1]


async def test_runs_that_are_read_one_by_one_do_not_all_fail_if_wandb_is_down() -> None:
    refs = [RunRef("local", "demo", f"r{n}") for n in range(300)]
    async with w_and_b(502) as session:
        with pytest.raises(ServerError, match="502"):
            async with scan_each(session, refs, partial(_system, session)) as lanes:
                async for lane in lanes:
                    async with lane:
                        with suppress(ServerError):  # as those do who want the others
                            assert [batch async for batch in lane] == []
        assert session.traffic.requests < len(refs) / 2


def _system(session: Session, ref: RunRef) -> AsyncGenerator[Page]:
    return scan_system(session, ref, Selection())
