"""A stalled object store ends an export once, and an export counts only its own traffic."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import anyio
import httpx
import pytest

from aiowandb import AsyncApi, StalledError
from aiowandb_server import Store, create_app
from tests.export.conftest import Project, history, steps

pytestmark = pytest.mark.anyio


RUNS = 40
# More than an answer takes that does come, however busy the machine is.
SILENCE_S = 4


class Storage(httpx.AsyncBaseTransport):
    """The embedded W&B, whose answers to GET stall at will, with or without their heads."""

    def __init__(self, store: Store) -> None:
        self._inner = httpx.ASGITransport(create_app(store))
        self.stalls: Callable[[httpx.Request], bool] = lambda request: True
        self.sends_heads = False
        self.asked = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.method != "GET" or not self.stalls(request):
            return await self._inner.handle_async_request(request)
        self.asked += 1
        if self.sends_heads:
            return httpx.Response(200, headers={"Content-Length": "9"}, stream=Silence())
        await anyio.sleep_forever()
        raise AssertionError


class Silence(httpx.AsyncByteStream):
    async def __aiter__(self):  # type: ignore[no-untyped-def]
        await anyio.sleep_forever()
        yield b""


@pytest.fixture
def storage(store: Store, project: Project) -> Storage:
    for number in range(RUNS):
        project.log(f"run-{number}", steps(0, 3))
    return Storage(store)


def client(store: Store, storage: Storage, timeout: float = SILENCE_S) -> AsyncApi:
    return AsyncApi(
        store.local_key,
        base_url="http://w.test",
        transport=storage,
        timeout=timeout,
        max_concurrency=4,
    )


@pytest.mark.slow
@pytest.mark.parametrize("sends_heads", [False, True])
async def test_a_store_that_stalls_for_all_files_ends_the_export_at_once(
    store: Store, storage: Storage, out: Path, sends_heads: bool
) -> None:
    storage.sends_heads = sends_heads
    async with client(store, storage) as api:
        runs = api.runs(Project.path)
        with pytest.raises(
            StalledError, match=rf"w\.test has sent nothing of \d+ files for {SILENCE_S} s"
        ):
            await runs.export(out)
        # Those that were under way, and perhaps those that took the places of the first ones
        # to give up; not all runs, and none of them twice.
        assert storage.asked <= 2 * 4
    storage.stalls = lambda request: False
    async with client(store, storage, timeout=120) as api:
        result = await api.runs(Project.path).export(out)
        assert (result.rows, result.failed) == (RUNS * 3, ())
    assert history(out).num_rows == RUNS * 3


@pytest.mark.slow
async def test_a_scan_of_many_runs_ends_likewise(store: Store, storage: Storage) -> None:
    async with client(store, storage) as api:
        with pytest.raises(StalledError, match="w.test"):
            async for _ in api.scan_histories(api.runs(Project.path)):
                pass
    assert storage.asked <= 2 * 4


@pytest.mark.slow
async def test_one_file_that_stalls_fails_its_run_alone(
    store: Store, storage: Storage, out: Path
) -> None:
    first: list[str] = []

    def is_first(request: httpx.Request) -> bool:
        first[:] = first or [request.url.path]
        return request.url.path in first

    storage.stalls = is_first
    async with client(store, storage) as api:
        result = await api.runs(Project.path).export(out)
    assert result.rows == (RUNS - 1) * 3
    assert len(result.failed) == 1


@pytest.mark.slow
async def test_the_numbers_of_an_export_are_its_own(
    store: Store, storage: Storage, tmp_path: Path
) -> None:
    storage.stalls = lambda request: False
    async with client(store, storage, timeout=120) as api:
        alone = await api.runs(Project.path).export(tmp_path / "alone")
        results = {}
        sent = api.traffic.requests

        async def export(name: str) -> None:
            results[name] = await api.runs(Project.path).export(tmp_path / name)

        async def ask() -> None:
            for _ in range(20):
                await (await api.run(f"{Project.path}/run-1")).load()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(export, "first")
            tasks.start_soon(export, "second")
            tasks.start_soon(ask)
        for one in results.values():
            assert (one.downloads, one.requests) == (alone.downloads, alone.requests)
            assert one.received_bytes == alone.received_bytes
        assert api.traffic.requests - sent >= 20 + 2 * alone.requests
