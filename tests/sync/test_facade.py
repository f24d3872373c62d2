"""The synchronous client: the same results without `await`, wherever it is called from."""

from __future__ import annotations

import gc
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anyio
import httpx
import pytest

from aiowandb import Api, AsyncApi, NotFoundError, UsageError
from tests.conftest import KEY
from tests.support.sample import ROWS, RUNS, Sample


def test_it_reads_what_the_async_api_reads(sample: Sample) -> None:
    async def by_await() -> dict[str, list[int]]:
        async with AsyncApi.local(sample.folder) as api:
            return {
                run.id: [row["_step"] async for row in run.scan_history()]
                async for run in api.runs(sample.path)
            }

    with Api.local(sample.folder) as api:
        runs = api.runs(sample.path)
        assert {r.id: [row["_step"] for row in r.scan_history()] for r in runs} == anyio.run(
            by_await
        )
        assert runs.count() == RUNS
        run = next(iter(runs))
        assert api.run(run.path).config == run.config
        assert sum(batch.num_rows for batch in run.scan_history_batches()) == ROWS
        assert len(run.history(samples=10, pandas=False)) == 10
        assert api.viewer.entity == "local"


def test_a_project_is_exported(sample: Sample, tmp_path: Path) -> None:
    with Api.local(sample.folder) as api:
        assert api.runs(sample.path).export(tmp_path, format="csv").rows == RUNS * ROWS


@pytest.mark.anyio
async def test_it_works_inside_a_running_event_loop(sample: Sample) -> None:
    with Api.local(sample.folder) as api:
        runs = api.runs(sample.path)
        assert len([run.name for run in runs]) == runs.count() == RUNS


def test_it_works_in_a_thread_after_the_one_that_made_it(sample: Sample) -> None:
    made: list[Api] = []
    maker = threading.Thread(target=lambda: made.append(Api.local(sample.folder)))
    maker.start()
    maker.join()
    with made[0] as api:
        assert api.runs(sample.path).count() == RUNS


def test_errors_are_the_same(sample: Sample) -> None:
    with Api.local(sample.folder) as api, pytest.raises(NotFoundError):
        api.run("local/sample/nothing")


def test_leaving_a_loop_early_stops_the_reading(sample: Sample) -> None:
    async def running() -> int:
        return len(anyio.get_running_tasks())

    with Api.local(sample.folder) as api:
        assert len(api.runs(sample.path)) > 1
        before = api._portal.call(running)
        for run in api.runs(sample.path, per_page=1):
            for _ in run.scan_history():
                assert api._portal.call(running) > before
                break
            break
        assert api._portal.call(running) == before


def test_a_closed_api_says_so(sample: Sample) -> None:
    api = Api.local(sample.folder)
    api.close()
    with pytest.raises(UsageError, match="closed"):
        _ = api.viewer


def test_a_loop_that_was_left_open_ends_with_its_api(sample: Sample) -> None:
    with Api.local(sample.folder) as api:
        rows = api.runs(sample.path)[0].scan_history()
        next(rows)
    del rows


def test_closing_ends_the_thread(sample: Sample) -> None:
    before = threading.enumerate()
    with Api.local(sample.folder) as api:
        _ = api.viewer
    left = [thread for thread in threading.enumerate() if thread not in before]
    assert "aiowandb-portal" not in [thread.name for thread in left]


def test_its_methods_have_docstrings() -> None:
    for name in ("run", "runs", "viewer"):
        assert getattr(Api, name).__doc__ == getattr(AsyncApi, name).__doc__


def test_a_client_that_is_forgotten_ends_its_thread(sample: Sample) -> None:
    run = Api.local(sample.folder).runs(sample.path)[0]
    thread = next(t for t in threading.enumerate() if t.name == "aiowandb-portal")
    assert len(list(run.scan_history())) == ROWS
    del run
    gc.collect()
    thread.join(10)
    assert not thread.is_alive()


@pytest.mark.parametrize("end", ["", "raise SystemExit(3)"])
def test_a_script_that_closes_nothing_ends(sample: Sample, end: str) -> None:
    script = (
        "from aiowandb import Api\n"
        f"api = Api.local({str(sample.folder)!r})\n"
        f"runs = api.runs({sample.path!r}, per_page=1)\n"
        "rows = next(iter(runs)).scan_history(page_size=10)\n"
        f"print(next(rows)['_step'])\n{end}"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout, done.stderr) == (3 if end else 0, "0\n", "")


def test_a_forked_child_gets_an_error_and_can_create_its_own_client(sample: Sample) -> None:
    script = f"""
import os, sys
from aiowandb import Api, UsageError
api = Api.local({str(sample.folder)!r})
print(api.runs({sample.path!r}).count(), flush=True)
if os.fork() == 0:
    try:
        api.runs({sample.path!r}).count()
    except UsageError as error:
        print(error, flush=True)
    with Api.local({str(sample.folder)!r}) as own:
        print(own.runs({sample.path!r}).count(), flush=True)
    sys.exit()
os.wait()
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, timeout=120
    )
    first, complaint, own = done.stdout.splitlines()
    assert (first, own) == (str(RUNS), str(RUNS))
    assert "make a new Api in the child" in complaint
    assert done.returncode == 0


@pytest.mark.slow
def test_a_spawned_process_makes_its_own(sample: Sample, tmp_path: Path) -> None:
    script = tmp_path / "pool.py"
    script.write_text(f"""
from multiprocessing import get_context
from aiowandb import Api, UsageError

def count(number):
    with Api.local({str(sample.folder)!r}) as api:
        return api.runs({sample.path!r}).count()

if __name__ == "__main__":
    with Api.local({str(sample.folder)!r}) as api, get_context("spawn").Pool(2) as pool:
        print(pool.map(count, range(2)))
        try:
            pool.map(count, [api.runs({sample.path!r})[0]])
        except UsageError as error:
            print(error)
""")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    counts, complaint = done.stdout.splitlines()
    assert counts == str([RUNS, RUNS])
    assert complaint.startswith("Run cannot be sent to another process")
    assert done.returncode == 0


def test_an_interrupt_ends_what_was_under_way() -> None:
    ended = threading.Event()

    class PressesControlC(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            try:
                await anyio.sleep_forever()
            finally:
                ended.set()
            raise AssertionError

    with Api(KEY, base_url="http://wandb.test", transport=PressesControlC()) as api:
        with pytest.raises(KeyboardInterrupt):
            _ = api.viewer
        assert ended.wait(60)


def test_it_works_from_many_threads(sample: Sample) -> None:
    with Api.local(sample.folder) as api, ThreadPoolExecutor(8) as pool:
        counts = pool.map(lambda _: len(list(api.runs(sample.path))), range(8))
        assert list(counts) == [RUNS] * 8
