"""Three minutes of exports from a growing server, over a network that breaks now and then."""

from __future__ import annotations

import gc
import os
import random
import shutil
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import anyio
import pytest

from aiowandb import AiowandbError, AsyncApi
from aiowandb_server import Store
from tests.chaos.world import rows
from tests.support.processes import PROJECT, Server, Writer
from tests.support.proxy import Fate, proxy_to

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="measures through /proc"),
]
SECONDS = 180
# So many exports show what grows, however long they take.
EXPORTS = 45
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Sample(NamedTuple):
    """What the process holds after an export."""

    time: float
    memory: float
    files: float
    tasks: float

    @classmethod
    def now(cls) -> Sample:
        gc.collect()
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE
        files = len(os.listdir("/proc/self/fd"))
        return cls(anyio.current_time(), resident, files, len(anyio.get_running_tasks()))


def growth(samples: Sequence[Sample], what: str) -> float:
    """By how much this has grown from the first of the samples to the last, on a straight line."""
    times = [sample.time for sample in samples]
    values = [getattr(sample, what) for sample in samples]
    middle, mean = sum(times) / len(times), sum(values) / len(values)
    slope = sum((t - middle) * (v - mean) for t, v in zip(times, values, strict=True)) / sum(
        (t - middle) ** 2 for t in times
    )
    return float(slope * (times[-1] - times[0]))


async def export(url: str, key: str, folder: Path, *, strict: bool = False) -> bool:
    async with AsyncApi(key, base_url=url, timeout=20) as api:
        try:
            result = await api.runs(PROJECT, order="+created_at").export(folder)
        except AiowandbError:
            assert not strict
            return False
        return not result.failed


async def soak(url: str, key: str, home: Path) -> list[Sample]:
    samples: list[Sample] = []
    end = anyio.current_time() + SECONDS
    while anyio.current_time() < end or len(samples) < EXPORTS:
        await export(url, key, home / "out")
        if len(samples) % 5 == 0:
            shutil.rmtree(home / "again", ignore_errors=True)
            await export(url, key, home / "again")
        samples.append(Sample.now())
        await anyio.sleep(0.1)
    return samples


def test_memory_files_and_tasks_stay_as_they_are(tmp_path: Path) -> None:
    chance = random.Random(5)
    with ExitStack() as stack:
        store = stack.enter_context(Store.open(tmp_path / "data", crash_after=float("inf")))
        server = Server(tmp_path / "data")
        stack.callback(server.kill)
        port = urlsplit(server.url).port
        assert port
        proxy = stack.enter_context(proxy_to(port))
        proxy.fate = lambda: Fate.drawn(chance) if chance.random() < 0.05 else None
        url = f"http://127.0.0.1:{proxy.port}"
        # As slowly as real runs: what a reader has at hand does grow until its windows are full.
        writers = [Writer(server, store, f"run-{number}", pause=1) for number in range(3)]
        # In a process of its own: other tests leave memory behind that comes and goes.
        alone = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
        try:
            with alone:
                soaking = alone.submit(anyio.run, soak, url, store.local_key, tmp_path)
                samples = soaking.result()
        finally:
            for writer in writers:
                writer.stop()
        proxy.fate = lambda: None
        for folder in ("out", "fresh"):
            whole = partial(export, url, store.local_key, tmp_path / folder, strict=True)
            assert anyio.run(whole)
    found = rows(tmp_path / "out")
    assert found == rows(tmp_path / "fresh")
    assert all(len(found[writer.name]) >= writer.acknowledged for writer in writers)

    settled = samples[len(samples) // 3 :]
    # What is being read grows, and its buffers with it. A leak of 0.1 MB an export would show.
    assert growth(settled, "memory") < 0.1 * settled[0].memory, len(settled)
    assert abs(growth(settled, "files")) < 2
    assert abs(growth(settled, "tasks")) < 1
