"""Lanes that are left early by those who read them."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import anyio
import pytest

from aiowandb.errors import ServerError
from aiowandb.history.columns import rows_to_batch
from aiowandb.history.many import scan_each
from aiowandb.history.pages import Page, ParquetPage
from aiowandb.paths import RunRef

pytestmark = pytest.mark.anyio
REFS = [RunRef("local", "demo", name) for name in ("left", "read")]


async def test_a_run_that_nobody_reads_any_more_may_fail_unseen() -> None:
    is_left = anyio.Event()

    async def pages(ref: RunRef) -> AsyncGenerator[Page]:
        if ref.run == "left":
            await is_left.wait()
            raise ServerError("too late")
        yield ParquetPage(rows_to_batch([{"_step": 0}]))

    async with scan_each(REFS, pages) as lanes:
        (await anext(lanes)).close()
        is_left.set()
        await anyio.wait_all_tasks_blocked()
        async with await anext(lanes) as lane:
            assert [batch.num_rows async for batch in lane] == [1]
