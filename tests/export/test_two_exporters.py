"""Exporting processes that compete for a bucket, also one that was asleep."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import anyio
import psutil
import pytest

from aiowandb import AsyncApi, ExportError
from aiowandb.api.runs import Runs
from aiowandb.export import pipeline
from aiowandb.export.folders import lease
from aiowandb_server import Store, create_app, serve_in_thread
from tests.export.bucket import Bucket
from tests.export.conftest import Project, contents, steps

EXPORT = """
import os, signal, sys, threading
from aiowandb import AiowandbError, Api
from aiowandb.export import pipeline
from aiowandb.export.folders import lease
from aiowandb.export.folders.remote import RemoteFolder

url, key, path, folder, *stops_after = sys.argv[1:]


def sleep():
    os.kill(os.getpid(), signal.SIGSTOP)


def stop_after(name):
    method = getattr(RemoteFolder, name)

    def stopping(*args, **options):
        returned = method(*args, **options)
        setattr(RemoteFolder, name, method)
        sleep()
        return returned

    setattr(RemoteFolder, name, stopping)


def stop_behind_record(number):
    method, left = RemoteFolder.create, number

    def counting(folder, name, content):
        nonlocal left
        returned = method(folder, name, content)
        left -= "journal/" in name
        if left == 0:
            RemoteFolder.create = method
            threading.Thread(target=sleep).start()  # in the middle of what comes next
        return returned

    RemoteFolder.create = counting


for name in stops_after:
    stop_behind_record(int(name)) if name.isdecimal() else stop_after(name)
    lease.RENEWED_EVERY_S, lease.TRUSTED_FOR_S, lease.OVER_AFTER_S = 0.2, 1, 4
pipeline.PART_ROWS = 300
with Api(key, base_url=url) as api:
    try:
        api.runs(path, order="+created_at").export(folder)
    except AiowandbError as error:
        sys.exit(str(error))
"""
TAKEN_OVER = "was taken over by process"
IN_USE = "is in use by process"

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform == "win32", reason="signals as POSIX has them"),
]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # the exporters are processes, and slow enough


@pytest.fixture
def url(store: Store, project: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(pipeline, "PART_ROWS", 300)
    for number in range(24):
        project.log(f"run-{number:02}", steps(0, 120), finish=number % 5 > 0)
    with serve_in_thread(create_app(store, latency=0.02)) as url:
        yield url


@pytest.fixture
async def runs(store: Store, url: str) -> AsyncIterator[Runs]:
    async with AsyncApi(store.local_key, base_url=url) as api:
        yield api.runs(Project.path, order="+created_at")


@pytest.fixture
def start(store: Store, url: str, bucket: Bucket) -> Callable[..., subprocess.Popen[str]]:
    """Starts an export into the bucket, which stops itself after a method of the folder, or
    after so many records of the journal."""
    command = [sys.executable, "-c", EXPORT, url, store.local_key, Project.path, bucket.url]
    return lambda *stops_after: subprocess.Popen(
        [*command, *stops_after], stderr=subprocess.PIPE, text=True
    )


def wait_until_asleep(process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while psutil.Process(process.pid).status() != psutil.STATUS_STOPPED:
        assert process.poll() is None, finish(process)
        assert time.monotonic() < deadline
        time.sleep(0.02)


def finish(process: subprocess.Popen[str]) -> str:
    """Wait for the end, and give what it complained of."""
    _, said = process.communicate(timeout=120)
    return said


@pytest.mark.slow
async def test_of_exporters_that_start_at_once_one_runs_and_the_others_are_told_which(
    start: Callable[..., subprocess.Popen[str]], bucket: Bucket, runs: Runs, out: Path
) -> None:
    said = [finish(process) for process in [start() for _ in range(3)]]
    assert "" in said
    assert all(IN_USE in complaint for complaint in said if complaint)
    await runs.export(out)
    assert bucket.contents() == contents(out)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["create", "log"])
async def test_an_exporter_that_slept_while_it_began_says_that_another_one_has_taken_over(
    start: Callable[..., subprocess.Popen[str]],
    bucket: Bucket,
    runs: Runs,
    method: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lease, "OVER_AFTER_S", 4)
    with start(method) as slept:
        wait_until_asleep(slept)
        await export_as_soon_as_possible(runs, bucket)
        done = bucket.contents()
        slept.send_signal(signal.SIGCONT)
        complaint = finish(slept)
    assert any(reason in complaint for reason in (TAKEN_OVER, IN_USE, "AWS Error")), complaint
    assert bucket.contents() == done


@pytest.mark.slow
@pytest.mark.parametrize("records", [1, 2, 3, 4, 6, 9])
async def test_an_exporter_that_slept_does_not_touch_what_its_successor_has_written(
    start: Callable[..., subprocess.Popen[str]],
    bucket: Bucket,
    runs: Runs,
    out: Path,
    records: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lease, "OVER_AFTER_S", 4)

    with start(str(records)) as slept:
        wait_until_asleep(slept)
        await export_as_soon_as_possible(runs, bucket)
        done = bucket.contents()
        slept.send_signal(signal.SIGCONT)
        complaint = finish(slept)
    # A request that was under way may not survive the sleep.
    assert any(reason in complaint for reason in (TAKEN_OVER, IN_USE, "AWS Error")), complaint
    await runs.export(out)
    assert bucket.contents() == done == contents(out)


async def export_as_soon_as_possible(runs: Runs, bucket: Bucket) -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            await runs.export(bucket.url)
        except ExportError as error:
            if IN_USE not in str(error) or time.monotonic() > deadline:
                raise
            await anyio.sleep(0.1)
        else:
            return
