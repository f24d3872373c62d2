"""Cancelled at any time, in any order: nothing is left behind, and complete files stay complete."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from aiowandb import AsyncApi
from aiowandb_server import Store, build_sample, create_app
from tests.chaos.world import leftovers, rows

PATH = "local/sample"
# Turns of the event loop after which the cancellation comes: at once, soon, late, never.
MOMENTS = st.integers(0, 40) | st.integers(40, 1500) | st.none()


class Cancelling(RuleBasedStateMachine):
    """A client whose work is cancelled again and again. Each rule says what it was doing."""

    def __init__(self) -> None:
        super().__init__()
        self._stack = ExitStack()
        self._home = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        self._scratch = self._home / "tmp"
        self._scratch.mkdir()
        self._before, tempfile.tempdir = tempfile.tempdir, str(self._scratch)
        self._store = self._stack.enter_context(
            Store.open(self._home / "wandb", crash_after=float("inf"))
        )
        build_sample(self._store, runs=4, rows=30)
        self._appended = 0

    @initialize(backend=st.sampled_from(["asyncio", "trio"]))
    def choose_the_loop(self, backend: str) -> None:
        self._backend = backend

    @rule(turns=MOMENTS)
    def listing(self, turns: int | None) -> None:
        async def work(api: AsyncApi) -> None:
            assert len([run async for run in api.runs(PATH, per_page=2)]) == 4

        self._cancel(turns, work)

    @rule(turns=MOMENTS, keep=st.integers(0, 40))
    def reading_rows_and_leaving(self, turns: int | None, keep: int) -> None:
        async def work(api: AsyncApi) -> None:
            run = (await api.runs(PATH).to_list())[0]
            left = keep
            async for _ in run.scan_history(page_size=7):
                left -= 1
                if left < 0:
                    break

        self._cancel(turns, work)

    @rule(turns=MOMENTS)
    def exporting(self, turns: int | None) -> None:
        async def work(api: AsyncApi) -> None:
            await api.runs(PATH).export(self._home / "out")

        self._cancel(turns, work)

    @rule(turns=MOMENTS)
    def appending(self, turns: int | None) -> None:
        async def work(api: AsyncApi) -> None:
            run = await api.create_run("appended", project="other", exist_ok=True)
            async with run.append(state="running") as log:
                for number in range(5):
                    await log({"number": number})

        self._cancel(turns, work)

    @rule()
    def exporting_to_the_end(self) -> None:
        async def work(api: AsyncApi) -> None:
            assert (await api.runs(PATH).export(self._home / "out")).failed == ()
            await api.runs(PATH).export(self._home / "fresh", overwrite=True)

        self._cancel(None, work)
        assert rows(self._home / "out") == rows(self._home / "fresh")

    @rule()
    def reading_what_was_appended(self) -> None:
        async def work(api: AsyncApi) -> None:
            run = await api.create_run("appended", project="other", exist_ok=True)
            found = [row["number"] async for row in run.scan_history()]
            # Each block has added the rows that it came to, in their order, and none twice.
            assert all(now in (0, before + 1) for before, now in pairwise([-1, *found]))

        self._cancel(None, work)

    @invariant()
    def no_file_stays_behind(self) -> None:
        assert list(self._scratch.iterdir()) == []
        out = self._home / "out"
        if out.exists():
            assert not [name for name in leftovers(out) if "draft" in name]
            rows(out)  # whatever is there can be read

    def teardown(self) -> None:
        tempfile.tempdir = self._before
        self._stack.close()

    def _cancel(self, turns: int | None, work: Callable[[AsyncApi], Awaitable[Any]]) -> None:
        """Do the work, cancel it after so many turns of the loop, and look for what remains."""

        async def go() -> None:
            before = len(anyio.get_running_tasks())
            transport = httpx.ASGITransport(create_app(self._store))
            async with AsyncApi(
                self._store.local_key, base_url="http://wandb.test", transport=transport
            ) as api:
                with anyio.fail_after(120), anyio.CancelScope() as scope:
                    async with anyio.create_task_group() as tasks:
                        if turns is not None:
                            tasks.start_soon(_cancel_after, turns, scope)
                        await work(api)
                        tasks.cancel_scope.cancel()
                # The same client goes on as if nothing had happened.
                with anyio.fail_after(120):
                    assert await api.runs(PATH).count() == 4
            assert len(anyio.get_running_tasks()) == before

        anyio.run(go, backend=self._backend)
        gc.collect()  # what was left open is warned of, and warnings are errors


async def _cancel_after(turns: int, scope: anyio.CancelScope) -> None:
    for _ in range(turns):
        await anyio.lowlevel.checkpoint()
    scope.cancel()


TestCancelling = pytest.mark.slow(Cancelling.TestCase)
TestCancelling.settings = settings(max_examples=40, stateful_step_count=12)
