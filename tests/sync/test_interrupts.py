"""Ctrl-C without `await`: the work has stopped before the interrupt is raised."""

from __future__ import annotations

import asyncio
import gc
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from aiowandb import Api, UsageError
from aiowandb.concurrency.portal import _Call
from aiowandb_server import Store, create_app
from tests.support.sample import ROWS, RUNS, Sample


class Interrupting(httpx.AsyncBaseTransport):
    """Sends a signal to the main thread in the middle of a request, and takes its time to stop."""

    def __init__(self, app: Any) -> None:
        self._transport = httpx.ASGITransport(app)
        self.signal = signal.SIGINT
        self.let_pass: int | None = None
        self.under_way = self.requests = 0
        self.stops: Callable[[], Any] = lambda: anyio.sleep(0.1)

    def interrupt(self, *, after: int = 0) -> None:
        """Let some requests pass, and then interrupt one."""
        self.let_pass = after

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests += 1
        self.under_way += 1
        try:
            if self.let_pass == 0:
                await self._interrupt()
            elif self.let_pass is not None:
                self.let_pass -= 1
            return await self._transport.handle_async_request(request)
        finally:
            self.under_way -= 1

    async def _interrupt(self) -> None:
        self.let_pass = None
        try:
            self.send_signal()
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await self.stops()

    def send_signal(self) -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, self.signal)


@pytest.fixture(autouse=True)
def _without_finalizers() -> Iterator[None]:
    """Python drops an interrupt that arrives while a finalizer runs, and there are those of all
    tests before."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def wandb(sample: Sample) -> Iterator[Interrupting]:
    with Store.open(sample.folder) as store:
        yield Interrupting(create_app(store))


@pytest.fixture
def api(sample: Sample, wandb: Interrupting) -> Iterator[Api]:
    with Api(sample.key, base_url="http://wandb.test", transport=wandb) as api:
        yield api


def append(api: Api, path: str) -> None:
    with api.create_run("interrupted", "appending", exist_ok=True).append() as log:
        log({"n": 1})


CALLS: dict[str, Callable[[Api, str], Any]] = {
    "attribute": lambda api, path: api.viewer,
    "one": lambda api, path: api.project(path),
    "count": lambda api, path: len(api.runs(path)),
    "list": lambda api, path: list(api.runs(path, per_page=1)),
    "slice": lambda api, path: api.runs(path, per_page=1)[:3],
    "rows": lambda api, path: list(api.runs(path)[0].scan_history()),
    "batches": lambda api, path: list(api.runs(path)[0].scan_history_batches()),
    "many": lambda api, path: list(api.scan_histories(api.runs(path))),
    "sample": lambda api, path: api.runs(path)[0].history(pandas=False),
    "frame": lambda api, path: api.runs(path, per_page=2).to_arrow(),
    "append": append,
}


@pytest.mark.parametrize("last", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.parametrize("call", CALLS)
def test_an_interrupt_comes_when_the_work_has_stopped_and_the_call_may_be_repeated(
    api: Api, wandb: Interrupting, sample: Sample, call: str, *, last: bool
) -> None:
    CALLS[call](api, sample.path)
    api.flush()
    before = wandb.requests
    CALLS[call](api, sample.path)
    requests = wandb.requests - before
    api.flush()
    wandb.interrupt(after=requests - 1 if last else (requests - 1) // 2)
    with pytest.raises(KeyboardInterrupt):
        CALLS[call](api, sample.path)
    assert wandb.under_way == 0
    CALLS[call](api, sample.path)


@pytest.mark.parametrize(
    "part", [0.5, *(pytest.param(part, marks=pytest.mark.slow) for part in (0.0, 1.0))]
)
def test_an_export_that_is_interrupted_can_be_repeated_at_once(
    api: Api, wandb: Interrupting, sample: Sample, tmp_path: Path, part: float
) -> None:
    runs = api.runs(sample.path, per_page=3)
    before = wandb.requests
    runs.export(tmp_path / "undisturbed")
    wandb.interrupt(after=int(part * (wandb.requests - before - 1)))
    with pytest.raises(KeyboardInterrupt):
        runs.export(tmp_path / "out")
    assert wandb.under_way == 0
    result = runs.export(tmp_path / "out")
    assert (result.runs, result.rows, result.failed) == (RUNS, RUNS * ROWS, ())


def test_it_is_so_in_a_notebook_whose_loop_runs(
    api: Api, wandb: Interrupting, sample: Sample, tmp_path: Path
) -> None:
    async def cell() -> None:
        api.runs(sample.path).export(tmp_path)

    with asyncio.Runner() as notebook:
        loop = notebook.get_loop()
        wandb.interrupt(after=1)
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(cell())
        assert wandb.under_way == 0
        loop.run_until_complete(cell())


def test_a_second_interrupt_does_not_wait(api: Api, wandb: Interrupting) -> None:
    released = threading.Event()

    async def stop_never() -> None:
        wandb.send_signal()
        await anyio.to_thread.run_sync(released.wait)

    wandb.stops = stop_never
    wandb.interrupt()
    with pytest.raises(KeyboardInterrupt):
        _ = api.viewer
    assert wandb.under_way == 1
    released.set()


def test_an_exception_of_another_signal_stops_the_work_too(api: Api, wandb: Interrupting) -> None:
    class TooLongError(Exception):
        pass

    def give_up(*_: Any) -> None:
        raise TooLongError

    before = signal.signal(signal.SIGUSR1, give_up)
    try:
        wandb.signal = signal.SIGUSR1
        wandb.interrupt()
        with pytest.raises(TooLongError):
            _ = api.viewer
        assert wandb.under_way == 0
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.anyio
async def test_a_call_that_is_stopped_before_it_begins_never_begins() -> None:
    begun = False

    async def begin() -> None:
        nonlocal begun
        begun = True

    call = _Call(begin)
    call.is_stopped = True
    await call.stop()
    with pytest.raises(UsageError, match="stopped"):
        await call.run()
    assert (begun, call.has_ended) == (False, True)
