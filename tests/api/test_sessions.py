"""A session can be opened by one task and closed by another, and leaves nothing behind."""

from __future__ import annotations

import gc
import os
import pickle
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, MutableMapping
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from aiowandb import Api, AsyncApi, UsageError
from aiowandb.api import Run
from tests.support.sample import ROWS, RUNS, Sample

pytestmark = pytest.mark.anyio


async def in_task(work: Callable[[], Any]) -> Any:
    """What the work gives in a task of its own."""
    results = []

    async def run() -> None:
        results.append(await work())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
    return results[0]


async def names(api: AsyncApi, path: str) -> AsyncGenerator[str | None]:
    async for run in api.runs(path, per_page=2):
        yield run.name


async def test_one_task_opens_and_another_one_closes(sample: Sample) -> None:
    before = len(anyio.get_running_tasks())
    api = AsyncApi.local(sample.folder)
    await in_task(api.__aenter__)
    reading = aiter(api.runs(sample.path, per_page=2))
    first = await in_task(reading.__anext__)
    assert first.name
    await in_task(lambda: api.__aexit__(None, None, None))
    assert len(anyio.get_running_tasks()) == before


async def test_a_generator_with_a_session_can_be_closed_by_another_task(sample: Sample) -> None:
    async def found() -> AsyncGenerator[str | None]:
        api = AsyncApi.local(sample.folder)
        async with api, aclosing(names(api, sample.path)) as every:
            async for name in every:
                yield name

    before = len(anyio.get_running_tasks())
    generator = found()
    assert await in_task(generator.__anext__)
    assert await in_task(generator.__anext__)
    await in_task(generator.aclose)
    assert len(anyio.get_running_tasks()) == before


async def test_an_error_in_the_block_comes_out_as_itself(sample: Sample) -> None:
    with pytest.raises(ZeroDivisionError):
        async with AsyncApi.local(sample.folder) as api:
            async for _ in api.runs(sample.path, per_page=1):
                raise ZeroDivisionError


class Interrupt(BaseException):
    """Something like KeyboardInterrupt that the test's own event loop does not heed."""


async def test_an_interrupt_in_the_runs_that_a_user_makes_reaches_that_user(
    sample: Sample,
) -> None:
    async def broken() -> AsyncIterator[Any]:
        raise Interrupt
        yield

    async with AsyncApi.local(sample.folder) as api:
        with pytest.raises(Interrupt):
            await api.scan_histories(broken()).__anext__()
        assert await api.runs(sample.path).count() == RUNS


async def test_a_session_may_be_closed_by_what_it_reads(sample: Sample) -> None:
    async def closing(api: AsyncApi) -> AsyncIterator[Any]:
        yield await api.runs(sample.path)[0]
        await api.aclose()

    async with AsyncApi.local(sample.folder) as api:
        # Its one run may have been read to the end by then, or not.
        with anyio.fail_after(60), suppress(UsageError):
            async for _ in api.scan_histories(closing(api)):
                pass
        with pytest.raises(UsageError, match="closed"):
            await api.viewer()


async def test_a_cancelled_task_stops_waiting_and_the_session_continues(
    url: str, sample: Sample
) -> None:
    asked = anyio.Event()

    class Silent(httpx.AsyncHTTPTransport):
        is_silent = True

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if self.is_silent:
                asked.set()
                await anyio.sleep_forever()
            return await super().handle_async_request(request)

    transport = Silent()
    async with AsyncApi(sample.key, base_url=url, transport=transport) as api:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(api.runs(sample.path).to_list)
            await asked.wait()
            tasks.cancel_scope.cancel()
        transport.is_silent = False
        assert len(await api.runs(sample.path).to_list()) == RUNS


async def test_the_lifespan_of_an_application_can_have_a_session(sample: Sample) -> None:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with AsyncApi.local(sample.folder) as api:
            app.state.api = api
            yield

    async def show(request: Request) -> PlainTextResponse:
        runs = [run async for run in request.app.state.api.runs(sample.path, per_page=2)]
        return PlainTextResponse(str(len(runs)))

    app = Starlette(routes=[Route("/", show)], lifespan=lifespan)
    # As test clients and servers do, which begin and end it as it suits them.
    context = app.router.lifespan_context(app)
    await in_task(context.__aenter__)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://a") as http:
        assert (await in_task(lambda: http.get("/"))).text == str(RUNS)
    await in_task(lambda: context.__aexit__(None, None, None))


async def test_clients_of_an_application_may_leave_at_any_moment(
    sample: Sample, tmp_path: Path
) -> None:
    class Left(Exception):
        """The server cannot send any more."""

    class Closing(StreamingResponse):
        """Closes its generator, which trio asks for and starlette leaves to the collector."""

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            assert isinstance(self.body_iterator, AsyncGenerator)
            async with aclosing(self.body_iterator):
                await super().__call__(scope, receive, send)

    async with AsyncApi.local(sample.folder) as api:

        async def batches(_: Request) -> StreamingResponse:
            async def lines() -> AsyncGenerator[str]:
                async with aclosing(api.scan_histories(api.runs(sample.path, fresh=True))) as scan:
                    async for run, batch in scan:
                        yield f"{run.id} {batch.num_rows}\n"

            return Closing(lines())

        async def export(request: Request) -> PlainTextResponse:
            result = await api.runs(sample.path).export(tmp_path / request.query_params["to"])
            return PlainTextResponse(str(result.rows))

        app = Starlette(routes=[Route("/batches", batches), Route("/export", export)])

        async def request(path: str, query: str = "", leave_at: int = 1000) -> str:
            """The response, of which so many messages can be sent before the client leaves."""
            sent: list[bytes] = []

            async def send(message: MutableMapping[str, Any]) -> None:
                if len(sent) == leave_at:
                    raise Left
                sent.append(message.get("body", b""))

            async def receive() -> dict[str, Any]:
                return {"type": "http.request"}

            scope: dict[str, Any] = {"type": "http", "method": "GET", "path": path, "headers": []}
            scope |= {"asgi": {"spec_version": "2.4"}, "query_string": query.encode()}
            await app(scope, receive, send)
            return b"".join(sent).decode()

        async def leave(leave_at: int) -> None:
            with pytest.raises(Left):
                await request("/batches", leave_at=leave_at)

        async def cancelled_export() -> None:
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as both:
                    both.start_soon(request, "/export", "to=cancelled")
                    await request("/batches")
                    scope.cancel()

        async def exported() -> None:
            assert await request("/export", "to=complete") == str(RUNS * ROWS)

        await api.viewer()
        before = len(anyio.get_running_tasks())
        with anyio.fail_after(300):
            async with anyio.create_task_group() as tasks:
                for leave_at in (0, 1, 2, 4):
                    tasks.start_soon(leave, leave_at)
                tasks.start_soon(cancelled_export)
                tasks.start_soon(exported)
                streamed = await request("/batches")
        rows = sum(int(line.split()[1]) for line in streamed.splitlines())
        assert rows == RUNS * ROWS
        gc.collect()  # what was left open would say so
        assert len(anyio.get_running_tasks()) == before


FIXTURES = """
import pytest_asyncio, pytest
from aiowandb import AsyncApi

@pytest_asyncio.fixture
async def api():
    async with AsyncApi() as api:
        yield api

@pytest_asyncio.fixture
async def reading(api):
    reading = aiter(api.runs("{path}", per_page=2))
    yield reading
    await reading.aclose()

@pytest.mark.asyncio
async def test_rows_are_read(api, reading):
    assert (await anext(reading)).name
    async for run in api.runs("{path}"):
        async for row in run.scan_history():
            break

@pytest.mark.asyncio
async def test_a_reader_that_is_left_behind_is_closed(api):
    assert (await anext(aiter(api.runs("{path}", per_page=1)))).name
"""


@pytest.mark.slow
def test_fixtures_of_pytest_asyncio_can_have_a_session(
    tmp_path: Path, url: str, sample: Sample
) -> None:
    (tmp_path / "test_it.py").write_text(FIXTURES.format(path=sample.path))
    flags = ["-X", "dev", "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    flags += ["-o", "asyncio_default_fixture_loop_scope=function"]
    done = subprocess.run(
        [sys.executable, *flags, "-W", "error", "--rootdir", tmp_path, tmp_path],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"WANDB_BASE_URL": url, "WANDB_API_KEY": sample.key},
    )
    assert "2 passed" in done.stdout, done.stdout + done.stderr
    assert "Exception ignored" not in done.stdout + done.stderr


UNCLOSED = """
import gc, logging, sys
import anyio
from aiowandb import AsyncApi

# In this mode asyncio also logs slow callbacks, which depends on the machine.
logging.getLogger("asyncio").setLevel(logging.ERROR)

async def entered_and_left_open():
    global kept
    kept = await AsyncApi().__aenter__()
    async for run in kept.runs("{path}", per_page=1):
        break

async def never_entered():
    await AsyncApi().viewer()

async def garbage():
    for _ in range(3):
        api = await AsyncApi().__aenter__()
        await api.viewer()
        del api
        gc.collect()
        await anyio.sleep(0.01)

async def reader():
    async with AsyncApi() as api:
        async for run in api.runs("{path}", per_page=1):
            async for row in run.scan_history(page_size=1):
                yield row

async def generator_that_the_loop_closes():
    global open_generator
    open_generator = reader()
    await anext(open_generator)
    await anyio.wait_all_tasks_blocked()

async def not_begun():
    global kept, ahead
    kept = await AsyncApi().__aenter__()
    ahead = aiter(kept.runs("{path}"))

async def scans_that_have_not_begun():
    global kept, ahead
    kept = await AsyncApi().__aenter__()
    run = await kept.runs("{path}")[0]
    ahead = [run.scan_history(), kept.scan_histories([run])]

class Cycle:
    def __init__(self, *parts):
        self.itself, self.parts = self, parts

async def scans_in_cycles():
    for _ in range(2):  # those of the last round are there when the loop ends
        api = await AsyncApi().__aenter__()
        run = await api.runs("{path}")[0]
        scans = [run.scan_history(page_size=1), api.scan_histories([run, run]), reader()]
        for scan in scans:
            await anext(scan)
        await anyio.wait_all_tasks_blocked()
        Cycle(api, scans, run.scan_history())
        del api, run, scans, scan

gc.disable()
everything = []
backend, *names = sys.argv[1:]
for name in names:
    kept = open_generator = ahead = None
    anyio.run(globals()[name], backend=backend)
    gc.collect()
    everything.append((kept, open_generator, ahead))  # until the interpreter ends
    print(name)
"""
HOWS = [
    "entered_and_left_open",
    "never_entered",
    "garbage",
    "generator_that_the_loop_closes",
    "not_begun",
    "scans_that_have_not_begun",
    "scans_in_cycles",
]


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["asyncio", pytest.param("trio", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "hows",
    [HOWS, *(pytest.param([how], marks=pytest.mark.slow) for how in HOWS)],
    ids=lambda hows: " ".join(hows),
)
def test_a_session_that_is_never_closed_neither_hangs_nor_warns(
    tmp_path: Path, url: str, sample: Sample, hows: list[str], backend: str
) -> None:
    script = tmp_path / "script.py"
    script.write_text(UNCLOSED.format(path=sample.path))
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", script, backend, *hows],
        capture_output=True,
        text=True,
        env=os.environ | {"WANDB_BASE_URL": url, "WANDB_API_KEY": sample.key},
    )
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, hows, "")


def renamed(run: Run) -> Run:
    run.name = "other"
    return run


async def calls(api: AsyncApi, path: str) -> dict[str, Callable[[], Any]]:
    """Everything that asks W&B, from what there was before the session was closed."""
    run = await api.runs(path)[0]
    project = await api.project(path)
    return {
        "run": lambda: api.run("e/p/r"),
        "viewer": api.viewer,
        "project": lambda: api.project("x"),
        "sweep": lambda: api.sweep("e/p/s"),
        "artifact": lambda: api.artifact("e/p/a:v0"),
        "create a run": lambda: api.create_run(project="p"),
        "create a project": lambda: api.create_project("p"),
        "runs": lambda: api.runs(path).count(),
        "cached runs": lambda: api.runs(path)[0],
        "projects": lambda: api.projects().to_list(),
        "artifacts": lambda: api.artifacts("model", "e/p/a").to_list(),
        "histories": lambda: api.scan_histories([run]).__anext__(),
        "project's runs": lambda: project.runs().to_list(),
        "sweeps": lambda: project.sweeps().to_list(),
        "history": lambda: run.history(),
        "scan": lambda: run.scan_history().__anext__(),
        "batches": lambda: run.scan_history_batches().__anext__(),
        "files": lambda: run.files().to_list(),
        "upload": lambda: run.upload_file("pyproject.toml"),
        "metadata": run.metadata,
        "console": lambda: run.console_logs().__anext__(),
        "used": lambda: run.used_artifacts().to_list(),
        "load": run.load,
        "update": lambda: renamed(run).update(),
        "delete": run.delete,
        "append": lambda: run.append().__aenter__(),
        "export": lambda: api.runs(path).export("-"),
        "table": lambda: api.runs(path).to_arrow(),
        "flush": lambda: api.flush(),
        "enter": api.__aenter__,
    }


async def test_requests_after_closing_are_a_usage_error(sample: Sample) -> None:
    async with AsyncApi.local(sample.folder) as api:
        every = await calls(api, sample.path)
        entered = aiter(api.runs(sample.path, per_page=1))
        await anext(entered)
    for name, call in every.items():
        with pytest.raises(UsageError, match="closed"):
            await call()
            pytest.fail(name)
    with pytest.raises(UsageError, match="closed"):
        async for _ in entered:
            pass
    await api.aclose()


async def test_an_iterator_of_a_session_that_was_not_entered_says_that_it_is_closed(
    sample: Sample,
) -> None:
    api = AsyncApi.local(sample.folder)
    reading = aiter(api.runs(sample.path, per_page=1))
    await anext(reading)
    await api.aclose()
    with pytest.raises(UsageError, match="closed"):
        await anext(reading)


async def test_a_task_that_waits_gets_an_error_when_the_client_is_closed(
    url: str, sample: Sample
) -> None:
    asked = anyio.Event()

    class Silent(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            asked.set()
            await anyio.sleep_forever()
            raise AssertionError

    async def wait(api: AsyncApi) -> None:
        with pytest.raises(UsageError, match="closed before W&B had answered"):
            await api.viewer()

    async with anyio.create_task_group() as tasks:
        api = AsyncApi(sample.key, base_url=url, transport=Silent())
        tasks.start_soon(wait, api)
        await asked.wait()
        await api.aclose()


async def test_a_session_is_entered_once(sample: Sample) -> None:
    async with AsyncApi.local(sample.folder) as api:
        with pytest.raises(UsageError, match="entered before"):
            await api.__aenter__()
        assert await api.runs(sample.path).count() == RUNS


def test_without_await_the_same(sample: Sample) -> None:
    with Api.local(sample.folder) as api:
        with pytest.raises(UsageError, match="entered before"), api:
            pass
        run = api.runs(sample.path)[0]
        rows = iter(run.scan_history(page_size=1))
        next(rows)
        runs = iter(api.runs(sample.path, per_page=1))
        next(runs)
        project = api.project(sample.path)
    every: list[Callable[[], Any]] = [
        lambda: api.viewer,
        lambda: api.run("e/p/r"),
        lambda: api.runs(sample.path),
        lambda: api.projects(),
        lambda: api.scan_histories([run]).__next__(),
        lambda: project.sweeps(),
        lambda: run.files(),
        lambda: run.history(),
        lambda: next(iter(run.scan_history())),
        lambda: next(rows),
        lambda: next(runs),
        lambda: api.flush(),
        lambda: api.__enter__(),
    ]
    for call in every:
        with pytest.raises(UsageError, match="closed"):
            call()
    api.close()


@pytest.mark.parametrize("is_entered", [True, False])
def test_another_event_loop_is_wrong_use(sample: Sample, is_entered: bool) -> None:
    for backend in ("asyncio", "trio"):
        api = AsyncApi.local(sample.folder)

        async def first(api: AsyncApi = api) -> None:
            if is_entered:
                await api.__aenter__()
            await api.runs(sample.path).count()

        async def second(api: AsyncApi = api) -> None:
            with pytest.raises(UsageError, match="another event loop"):
                await api.runs(sample.path).count()
            with pytest.raises(UsageError, match="another event loop"):
                await api.viewer()
            if is_entered:
                with pytest.raises(UsageError, match="another event loop"):
                    aiter(api.runs(sample.path))
            with pytest.raises(UsageError, match="another event loop"):
                await api.aclose()

        anyio.run(first, backend=backend)
        anyio.run(second, backend=backend)


async def test_another_thread_is_wrong_use(sample: Sample) -> None:
    async with AsyncApi.local(sample.folder) as api:
        run = await api.runs(sample.path)[0]
        reading = aiter(api.runs(sample.path, per_page=1))
        await anext(reading)

        def use() -> None:
            for scan in (run.scan_history, run.scan_history_batches, run.console_logs):
                with pytest.raises(UsageError, match="not in another thread"):
                    scan()
            with pytest.raises(UsageError, match="not in another thread"):
                aiter(api.runs(sample.path))
            with pytest.raises(UsageError, match="not in another thread"):
                api.scan_histories([run])
            with pytest.raises(UsageError, match="not in another thread"):
                api.runs(sample.path).count().send(None)
            with pytest.raises(UsageError, match="another"):
                reading.__anext__().__await__().__next__()

        await anyio.to_thread.run_sync(use)
        async with aclosing(run.scan_history()) as rows:
            assert await rows.__anext__()


async def test_a_reading_that_another_thread_forgets_ends(sample: Sample) -> None:
    async with AsyncApi.local(sample.folder) as api:
        before = len(anyio.get_running_tasks())
        kept = [aiter(api.runs(sample.path, per_page=1))]
        await anext(kept[0])
        await anyio.to_thread.run_sync(kept.clear)
        with anyio.fail_after(60):
            while len(anyio.get_running_tasks()) > before:  # noqa: ASYNC110 - tells of no end
                await anyio.sleep(0.001)


async def test_objects_with_a_connection_cannot_be_pickled(sample: Sample) -> None:
    async with AsyncApi.local(sample.folder) as api:
        runs = api.runs(sample.path)
        run = await runs[0]
        for kept in (api, runs, run, run.files(), await api.project(sample.path)):
            with pytest.raises(UsageError, match="another process"):
                pickle.dumps(kept)
        assert pickle.loads(pickle.dumps(run.record)).ref == run.record.ref
