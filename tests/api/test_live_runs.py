"""Runs that are logged as they happen: batches, heartbeats, and how they end."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import anyio
import anyio.lowlevel
import httpx
import pytest

from aiowandb import Api, AsyncApi, CommError, ConflictError, UsageError
from aiowandb.api import live
from aiowandb.net import RetryPolicy
from aiowandb_server import Store, create_app, serve_in_thread

pytestmark = pytest.mark.anyio
once = pytest.mark.parametrize("anyio_backend", ["asyncio"])


@pytest.fixture
async def api(new_folder: Callable[[Path], Path], tmp_path: Path) -> AsyncIterator[AsyncApi]:
    """A client of an empty W&B."""
    async with AsyncApi.local(new_folder(tmp_path / "wandb")) as api:
        yield api


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are sent as soon as they are logged."""
    monkeypatch.setattr(live, "SECONDS_BETWEEN_BATCHES", 0.01)


class Held(httpx.AsyncBaseTransport):
    """A W&B that takes rows when it is let go, and says when it has taken some."""

    def __init__(self, store: Store, answers: int = 1) -> None:
        self._app = httpx.ASGITransport(create_app(store))
        self.gate, self.answered = anyio.Event(), anyio.Event()
        self.gate.set()
        self.refuses = False
        self._awaited = answers

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if not request.url.path.endswith("file_stream"):
            return await self._app.handle_async_request(request)
        await self.gate.wait()
        if self.refuses:
            response = httpx.Response(400, json={"error": "no more"})
        else:
            response = await self._app.handle_async_request(request)
        self._awaited -= 1
        if self._awaited <= 0:
            self.answered.set()
        return response


def client(store: Store, transport: Held) -> AsyncApi:
    return AsyncApi(
        store.local_key,
        base_url="http://wandb.in-process",
        entity="local",
        transport=transport,
        retry=RetryPolicy(max_failures=1),
    )


async def test_a_run_is_logged_and_finished(api: AsyncApi) -> None:
    async with api.start_run(
        "local/live", name="A run", config={"lr": 0.1}, tags=["a"], notes="n", group="g"
    ) as run:
        assert (run.name, run.state, run.config["lr"]) == ("A run", "running", 0.1)
        for step in range(10):
            await run.log({"loss": 1 / (step + 1), "nest": {"x": step}})
        await run.log({"odd": math.nan}, step=20)
        await run.log({"own": 1, "_step": 30})
    assert (run.state, run.added, run.last_step) == ("finished", 12, 30)
    found = await api.run(f"local/live/{run.id}", fresh=True)
    assert (found.state, found.notes, found.group, found.tags) == ("finished", "n", "g", ["a"])
    rows = [row async for row in found.scan_history()]
    assert [row["_step"] for row in rows] == [*range(10), 20, 30]
    assert rows[3]["nest.x"] == 3
    assert rows[3]["_timestamp"] > 1.7e9
    assert (found.summary["loss"], found.summary["own"]) == (0.1, 1)


async def test_an_exception_makes_it_failed_with_its_rows(api: AsyncApi) -> None:
    with pytest.raises(ZeroDivisionError):
        async with api.start_run("local/live") as run:
            await run.log({"x": 1})
            raise ZeroDivisionError
    found = await api.run(f"local/live/{run.id}", fresh=True)
    assert (found.state, found.history_line_count) == ("failed", 1)


async def test_a_cancelled_block_makes_it_failed_with_its_rows(api: AsyncApi) -> None:
    with anyio.CancelScope() as scope:
        async with api.start_run("local/live") as run:
            await run.log({"x": 1})
            scope.cancel()
            await anyio.sleep_forever()
    found = await api.run(f"local/live/{run.id}", fresh=True)
    assert (found.state, found.history_line_count) == ("failed", 1)


@once
@pytest.mark.usefixtures("soon")
async def test_rows_are_there_while_the_run_goes_on(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        held = Held(store)
        async with client(store, held) as api, api.start_run("local/live") as run:
            await run.log({"x": 1})
            await held.answered.wait()
            found = await api.run(f"local/live/{run.id}", fresh=True)
            assert (found.state, found.history_line_count) == ("running", 1)


@once
@pytest.mark.usefixtures("soon")
async def test_heartbeats_keep_a_silent_run_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "SECONDS_BETWEEN_HEARTBEATS", 0.02)
    with Store.open(tmp_path) as store:
        held = Held(store, answers=3)
        async with client(store, held) as api, api.start_run("local/live"):
            await held.answered.wait()


@pytest.mark.slow
@once
@pytest.mark.usefixtures("soon")
async def test_a_program_that_is_quicker_than_w_and_b_waits(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        held = Held(store)
        held.gate = anyio.Event()
        async with client(store, held) as api, api.start_run("local/live") as run:
            logged = 0
            with anyio.move_on_after(1) as scope:
                for _ in range(10 * live._MOST_WAITING):
                    await run.log({"x": 1})
                    logged += 1
            assert scope.cancelled_caught
            assert logged <= 2 * live._MOST_WAITING
            held.gate.set()
            for _ in range(live._MOST_WAITING + 1):
                await run.log({"x": 1})
        assert run.added == logged + live._MOST_WAITING + 1


@once
@pytest.mark.usefixtures("soon")
async def test_rows_that_are_refused_are_an_error_of_log_or_of_the_block(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        held = Held(store)
        held.refuses = True
        async with client(store, held) as api:
            with pytest.raises(CommError, match="no more"):
                async with api.start_run("local/live") as run:
                    await run.log({"x": 1})
                    await held.answered.wait()
            with pytest.raises(CommError, match="no more"):
                async with api.start_run("local/live") as run:
                    with anyio.fail_after(30):
                        while True:
                            await run.log({"x": 1})
                            await anyio.lowlevel.checkpoint()


@once
async def test_a_run_that_exists_is_refused(api: AsyncApi) -> None:
    async with api.start_run("local/live", run_id="mine", config={"a": 1}):
        pass
    with pytest.raises(ConflictError, match="mine exists"):
        async with api.start_run("local/live", run_id="mine", config={"a": 2}):
            pass
    assert (await api.run("local/live/mine", fresh=True)).config == {"a": 1}


@once
async def test_wrong_rows_are_errors_where_they_are_logged(api: AsyncApi) -> None:
    start = api.start_run("local/live")
    async with start as run:
        await run.log({"x": 1}, step=5)
        with pytest.raises(UsageError, match="step 5 is not after step 5"):
            await run.log({"x": 1}, step=5)
        with pytest.raises(UsageError, match="cannot be encoded"):
            await run.log({"x": object()})
        with pytest.raises(UsageError, match="the row has the _step 7"):
            await run.log({"_step": 7}, step=8)
        await run.log({"x": 2})
    assert run.added == 2
    with pytest.raises(UsageError, match="inside of"):
        await run.log({"x": 3})
    with pytest.raises(UsageError, match="started before"):
        await start.__aenter__()


def test_without_await(tmp_path: Path) -> None:
    with Api.local(tmp_path) as api:
        with api.start_run("local/live", config={"lr": 1}) as run:
            for step in range(5):
                run.log({"x": step})
            run.config["more"] = 2
            run.update()
        assert (run.state, run.added) == ("finished", 5)
        found = api.run(f"local/live/{run.id}")
        assert [row["x"] for row in found.scan_history()] == list(range(5))
        assert found.config == {"lr": 1, "more": 2}


LOGS_FOR_EVER = """
import anyio
from aiowandb import AsyncApi
from aiowandb.api import live

live.SECONDS_BETWEEN_BATCHES = 0.01

async def main():
    async with AsyncApi() as api, api.start_run("local/live", run_id="killed") as run:
        await run.log({"x": 1})
        while not run.added:
            await anyio.sleep(0.01)
        print("logged", flush=True)
        await anyio.sleep_forever()

anyio.run(main)
"""


def test_a_run_whose_program_is_killed_is_crashed(tmp_path: Path) -> None:
    now = [1_700_000_000.0]
    with (
        Store.open(tmp_path, clock=lambda: now[0]) as store,
        serve_in_thread(create_app(store)) as url,
    ):
        environment = os.environ | {"WANDB_BASE_URL": url, "WANDB_API_KEY": store.local_key}
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(LOGS_FOR_EVER)],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout
        with process, process.stdout:
            assert process.stdout.readline() == "logged\n"
            process.send_signal(signal.SIGKILL)
            process.wait()
        with Api(store.local_key, base_url=url) as api:
            assert api.run("local/live/killed", fresh=True).state == "running"
            now[0] += 3600
            found = api.run("local/live/killed", fresh=True)
            assert (found.state, found.history_line_count) == ("crashed", 1)
