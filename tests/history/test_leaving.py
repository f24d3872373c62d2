"""A scan can be left at any time and in any way: no task, socket or file is left behind."""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest

from aiowandb import AsyncApi
from aiowandb.history import segments
from aiowandb_server import Store, create_app, serve_in_thread
from tests.history.conftest import PROJECT, World

pytestmark = pytest.mark.anyio
Scan = Callable[[AsyncApi], Any]


async def rows(api: AsyncApi) -> AsyncGenerator[Any]:
    run = await api.run(f"{PROJECT}/r3")
    async for row in run.scan_history(page_size=10):
        yield row


async def batches(api: AsyncApi) -> AsyncGenerator[Any]:
    run = await api.run(f"{PROJECT}/r3")
    async for batch in run.scan_history_batches(page_size=10):
        yield batch


async def interleaved(api: AsyncApi) -> AsyncGenerator[Any]:
    async for found in api.scan_histories(api.runs(PROJECT)):
        yield found


async def ordered(api: AsyncApi) -> AsyncGenerator[Any]:
    async for found in api.scan_histories(api.runs(PROJECT), ordered=True):
        yield found


async def by_break(scan: AsyncGenerator[Any]) -> None:
    async for _ in scan:
        break


async def by_exception(scan: AsyncGenerator[Any]) -> None:
    with pytest.raises(ZeroDivisionError):
        async for _ in scan:
            raise ZeroDivisionError


async def by_cancelling(scan: AsyncGenerator[Any]) -> None:
    with anyio.CancelScope() as scope:
        async for _ in scan:
            scope.cancel()
    assert scope.cancelled_caught


@pytest.fixture(scope="module", params=["parquet", "json"])
def served(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[tuple[str, str]]:
    """Key and URL of a W&B with some runs."""
    with Store.open(tmp_path_factory.mktemp("wandb")) as store:
        world = World(store)
        for n in range(12):
            world.add_run(f"r{n}", [{"_step": i, "loss": i / 7} for i in range(100)])
        with serve_in_thread(create_app(store, history=request.param)) as url:
            yield store.local_key, url


def open_files() -> set[str]:
    found = set()
    for handle in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the one that lists the others
            found.add(f"{handle.name} {handle.readlink()}")
    return found


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files through /proc")
@pytest.mark.parametrize("leave", [by_break, by_exception, by_cancelling])
@pytest.mark.parametrize(
    "scan",
    [
        rows,
        interleaved,
        *(pytest.param(scan, marks=pytest.mark.slow) for scan in (batches, ordered)),
    ],
)
async def test_nothing_is_left_behind(
    served: tuple[str, str],
    scan: Scan,
    leave: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(segments, "_IN_MEMORY", 16)  # so that segments lie on the disk
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    there = set(os.listdir(tmp_path))
    before = open_files()
    key, url = served
    async with AsyncApi(key, base_url=url) as api:
        await api.viewer()
        tasks = len(anyio.get_running_tasks())
        items = scan(api)
        await leave(items)
        await items.aclose()
        del items
        gc.collect()
        await until(lambda: len(anyio.get_running_tasks()) <= tasks)
    # The server, which is in this process, closes its ends a moment later.
    await until(lambda: open_files() <= before)
    assert set(os.listdir(tmp_path)) == there


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(120):
        while not condition():  # noqa: ASYNC110
            await anyio.sleep(0.001)
