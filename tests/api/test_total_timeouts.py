"""Every call of the async client ends after its `total_timeout`, or after `timeout` of silence,
whatever a server does: it drips, stalls, refuses for ever.

The calls are found by going through the classes that users hold. A call that is not in the table
has to be in `NOT_HERE`, with the reason.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
import trio
from anyio.abc import SocketStream

from aiowandb import AsyncApi, TimeoutError, api
from tests.api.test_wrong_calls import RIGHT, objects
from tests.conftest import KEY
from tests.support.raw_http import OK, serving
from tests.support.sample import Sample

pytestmark = [
    pytest.mark.anyio,
    # httpcore leaves what it sends to the garbage collector when it is cancelled.
    pytest.mark.filterwarnings("ignore:Async generator 'http(x|core)[.]:ResourceWarning"),
]

TOTAL_S = 0.6
# Far more than a call may take on a slow machine, and far less than these servers do.
DEADLINE_S = 300
LONG_S = 10_000

# Calls that are tried elsewhere, or that wait for nothing.
NOT_HERE = {
    "AsyncApi.__aenter__": "sends nothing",
    "AsyncApi.__aexit__": "closes, which waits for nobody",
    "AsyncApi.aclose": "closes, which waits for nobody",
    "Append.__aexit__": "in test_ending_in_time",
    "Append.__call__": "in test_ending_in_time",
    "Append.flush": "in test_ending_in_time",
    "RunStart.__aexit__": "in test_ending_in_time",
    "LiveRun.log": "in test_ending_in_time",
}


async def silent(stream: SocketStream) -> None:
    async for _ in stream:
        pass


async def drip(stream: SocketStream, start: bytes, drop: bytes) -> None:
    """A little now and then, without end."""
    await stream.receive()
    await stream.send(start)
    while True:
        await stream.send(drop)
        await anyio.sleep(TOTAL_S / 10)


async def refuse(stream: SocketStream, head: bytes) -> None:
    """The same refusal to every request."""
    while True:
        request = await stream.receive()
        if b"\r\n\r\n" in request:
            await stream.send(b"HTTP/1.1 " + head + b"\r\nContent-Length: 2\r\n\r\n{}")


CHUNKED = OK + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
SERVERS: dict[str, Callable[[SocketStream], Awaitable[object]]] = {
    "never answers": silent,
    "drips a body": partial(drip, start=CHUNKED, drop=b"1\r\n \r\n"),
    "drips a head": partial(drip, start=OK, drop=b"X"),
    "drips headers": partial(drip, start=OK, drop=b"X-Header: 1\r\n"),
    "drips 1xx": partial(drip, start=b"", drop=b"HTTP/1.1 102 Processing\r\n\r\n"),
    "drips a chunk size": partial(drip, start=CHUNKED, drop=b"0"),
    "drips trailers": partial(drip, start=CHUNKED + b"0\r\n", drop=b"X-Trailer: 1\r\n"),
    "drips a refusal": partial(
        drip, start=b"HTTP/1.1 404 Not Found\r\nContent-Length: 99999\r\n\r\n", drop=b" "
    ),
    "says 429": partial(refuse, head=b"429 Too Many Requests\r\nRetry-After: 0.1"),
    "says 429 and a long pause": partial(refuse, head=b"429 Too Many\r\nRetry-After: 3000"),
    "says 503": partial(refuse, head=b"503 Service Unavailable\r\nRetry-After: 0.1"),
    "says 503 and a long pause": partial(refuse, head=b"503 Unavailable\r\nRetry-After: 3000"),
}
QUICK = {"never answers"}


@dataclass
class Server:
    """A server of this kind, and its connections."""

    answer: Callable[[SocketStream], Awaitable[object]]
    url: str = ""
    open: int = 0
    idle: anyio.Event = field(default_factory=anyio.Event)

    async def connected(self, stream: SocketStream) -> None:
        self.open += 1
        try:
            await self.answer(stream)
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            pass  # the client is gone
        finally:
            self.open -= 1
            if not self.open:
                self.idle.set()
                self.idle = anyio.Event()

    async def wait_until_closed(self) -> None:
        """The server learns a moment later that its clients have closed their connections."""
        with anyio.fail_after(DEADLINE_S):
            if self.open:
                await self.idle.wait()


@asynccontextmanager
async def server_that(name: str) -> AsyncIterator[Server]:
    server = Server(SERVERS[name])
    async with serving(server.connected) as server.url:
        yield server


def client(url: str, **options: Any) -> AsyncApi:
    options = {"total_timeout": TOTAL_S, "timeout": LONG_S, "max_concurrency": 4} | options
    return AsyncApi(KEY, base_url=url, **options)


def waits() -> Iterator[tuple[str, str]]:
    """The methods of users' objects that are awaited, entered or iterated over."""
    special = ("__aiter__", "__aenter__", "__aexit__", "__call__", "__getitem__")
    for kind in api.__all__:
        for name, method in inspect.getmembers(getattr(api, kind), inspect.isfunction):
            if name.startswith("_") and name not in special:
                continue
            returns = str(inspect.signature(method).return_annotation)
            if inspect.iscoroutinefunction(method) or returns.startswith(("Awaitable", "Stream")):
                yield kind, name


CALLS = [
    (kind, name)
    for kind, name in waits()
    if f"{kind}.{name}" not in NOT_HERE
    # What it inherits from a run.
    and not (kind == "LiveRun" and hasattr(api.Run, name))
]


def test_every_reason_is_about_a_call_that_there_is() -> None:
    assert NOT_HERE.keys() <= {f"{kind}.{name}" for kind, name in waits()}
    assert len(CALLS) > 60


async def do(one: Any, name: str, folder: Path) -> None:
    """Make the call, and take all that it gives."""
    method = getattr(one, name)
    parameters = inspect.signature(method).parameters.values()
    needed = {
        each.name: RIGHT[each.name]
        for each in parameters
        if each.default is each.empty and each.kind is not each.VAR_KEYWORD
    }
    names = {each.name for each in parameters}
    own: dict[str, Any] = {
        "root": folder,
        "folder": folder / "exported",
        "source": folder / "rows.csv",
        "files": {"a.txt": folder / "a.txt"},
    }
    if name in ("export", "plan_export", "export_projects"):
        own["target"] = folder / "out"
    elif "target" in names:
        own["target"] = "e/copy"
    if name == "upload_file":
        own["path"] = folder / "a.txt"
    if name == "scan_histories":
        own["runs"] = one.runs("e/p")
    given = needed | {key: value for key, value in own.items() if key in names}
    result = method(**given)
    if isinstance(result, Awaitable):
        await result
    else:
        async for _ in result:
            pass


@pytest.fixture
async def prepared(sample: Sample, tmp_path: Path) -> tuple[dict[str, Any], Path]:
    """One object of each class, and a folder with what the calls need."""
    (tmp_path / "rows.csv").write_text("run_id,_step,loss\na,0,1\n")
    (tmp_path / "a.txt").write_text("text")
    async with AsyncApi.local(sample.folder) as good:
        await good.runs(sample.path).export(tmp_path / "exported")
        return await objects(good, sample), tmp_path


def _tasks() -> int:
    try:
        return len(asyncio.all_tasks())
    except RuntimeError:
        return trio.lowlevel.current_statistics().tasks_living


async def all_calls(
    server: Server,
    prepared: tuple[dict[str, Any], Path],
    **options: Any,
) -> dict[str, BaseException | None]:
    """Every call at once, each by a client of its own: how they end."""
    ones, folder = prepared
    ends: dict[str, BaseException | None] = {}

    async def one_call(kind: str, name: str) -> None:
        own = folder / f"{kind}.{name}"
        own.mkdir(exist_ok=True)
        for each in ("rows.csv", "a.txt", "exported"):
            (own / each).symlink_to(folder / each)
        ends[f"{kind}.{name}"] = None
        async with client(server.url, **options) as asking:
            try:
                with anyio.fail_after(DEADLINE_S):
                    await do(fresh(kind, ones, asking), name, own)
            except BaseException as error:
                ends[f"{kind}.{name}"] = error
                if not isinstance(error, Exception):
                    raise

    async with anyio.create_task_group() as tasks:
        for kind, name in CALLS:
            tasks.start_soon(one_call, kind, name)
    return ends


def fresh(kind: str, ones: dict[str, Any], asking: AsyncApi) -> Any:
    """An object of this class at the other server."""
    record = msgspec.structs.replace(ones["Run"].record, sweep_name="sweep")
    run = api.Run(record, asking._session)
    run.config["changed"] = True
    match kind:
        case "AsyncApi":
            return asking
        case "Run":
            return run
        case "LiveRun":
            return api.LiveRun(run.record, asking._session)
        case "Runs":
            return asking.runs("e/p")
        case "Append":
            return run.append()
        case "RunStart":
            return asking.start_run("e/p")
        case "Files":
            return run.files()
        case "File":
            link = f"{asking.settings.base_url}/files/x"
            there = msgspec.structs.replace(ones["File"].record, url=link)
            return api.File(there, asking._session, run.files()._source)
        case "Artifacts":
            return run.logged_artifacts()
        case "Projects":
            return asking.projects()
        case "Sweeps":
            return api.Project(ones["Project"].record, asking._session).sweeps()
        case "Sweep":
            return api.Sweep(ones["Sweep"].record, asking._session, "e", "p")
        case _:
            return getattr(api, kind)(ones[kind].record, asking._session)


@pytest.mark.parametrize(
    "kind",
    [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in SERVERS],
)
async def test_every_call_ends_after_its_total_time(
    prepared: tuple[dict[str, Any], Path], kind: str
) -> None:
    before = _tasks()
    async with server_that(kind) as server:
        ends = await all_calls(server, prepared)
        await server.wait_until_closed()
    said = f"not done within {TOTAL_S:g} s, which is the total_timeout of the client"
    others = {
        name: end
        for name, end in ends.items()
        if not isinstance(end, TimeoutError) or said not in str(end)
    }
    assert not others
    assert _tasks() == before


@pytest.mark.slow
async def test_every_call_ends_after_the_silence_of_its_requests(
    prepared: tuple[dict[str, Any], Path],
) -> None:
    before = _tasks()
    async with server_that("never answers") as server:
        ends = await all_calls(server, prepared, timeout=TOTAL_S, total_timeout=None)
        await server.wait_until_closed()
    assert ends.pop("AsyncApi.export_projects") is None  # its items have the errors
    others = {
        name: end
        for name, end in ends.items()
        if not isinstance(end, TimeoutError) or f"within {TOTAL_S:g} s" not in str(end)
    }
    assert not others
    assert _tasks() == before
