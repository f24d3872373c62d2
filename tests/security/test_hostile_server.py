"""A malicious server: its sizes, its nesting, its names, its files."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aiowandb import AiowandbError, AsyncApi, ContentError, ServerError, TooLargeError
from aiowandb.net import session
from aiowandb_server import RunChanges, Store, create_app, serve_in_thread
from tests.chaos.faults import FaultLayer, Message, Receive, Send, Weather
from tests.support.shell import aiowandb, aiowandb_on_terminal

pytestmark = pytest.mark.anyio
PATH = "local/p"
DEPTHS = (500, 900, 1100, 5_000, pytest.param(200_000, marks=pytest.mark.slow))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "wandb", crash_after=float("inf")) as store:
        store.projects.ensure("local", "p")
        yield store


def make_run(store: Store, name: str = "r", *rows: str, **changes: Any) -> Any:
    project = store.projects.get("local", "p")
    assert project
    run, _ = store.runs.upsert(project, name, RunChanges(**changes))
    store.history.append(run, list(rows))
    return run


def connected(
    store: Store,
    change: Callable[[Any], None] = lambda answer: None,
    downloads: Weather | None = None,
) -> AsyncApi:
    """A client of a W&B whose GraphQL answers are changed, and its files suffer from weather."""
    app = create_app(store)
    layer = FaultLayer(app)
    layer.weather = downloads or Weather()

    async def between(scope: Message, receive: Receive, send: Send) -> None:
        async def resend(message: Message) -> None:
            if scope["path"] == "/graphql":
                if message["type"] == "http.response.start":
                    message["headers"] = [(b"content-type", b"application/json")]
                else:
                    answer = orjson.loads(message["body"])
                    change(answer["data"])
                    message["body"] = orjson.dumps(answer)
            await send(message)

        await (app if scope["path"] == "/graphql" else layer)(scope, receive, resend)

    transport = httpx.ASGITransport(between)
    return AsyncApi(store.local_key, base_url="http://wandb.test", transport=transport)


async def all_of_it(api: AsyncApi, folder: Path) -> None:
    """Read everything that there is of the runs; what goes wrong must be an error of ours."""
    for run in await api.runs(PATH).to_list():
        for part in ("config", "summary", "json_config"):
            with suppress(AiowandbError):
                repr(getattr(run, part))
        for stream in (run.scan_history(), run.scan_history_batches()):
            with suppress(AiowandbError):
                async for _ in stream:
                    pass
    with suppress(AiowandbError):
        await api.runs(PATH).export(folder)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("nest", ['{"a":', "["], ids=["objects", "lists"])
async def test_values_nested_without_end_are_an_error_or_read(
    store: Store, tmp_path: Path, depth: int, nest: str
) -> None:
    deep = nest * depth + "1" + ("}" if nest[0] == "{" else "]") * depth
    make_run(store, "r", "{}")

    def nested(data: Any) -> None:
        for edge in (data.get("project") or {}).get("runs", {}).get("edges", []):
            edge["node"] |= {
                "config": f'{{"a": {{"value": {deep}}}}}',
                "summaryMetrics": f'{{"a": {deep}}}',
            }
        for member in (data.get("project") or {}).values():
            if isinstance(member, dict) and "history" in member:
                member["history"] = [f'{{"_step": 0, "a": {deep}}}']

    async with connected(store, nested) as api:
        await all_of_it(api, tmp_path / "out")


async def test_numbers_without_end_are_an_error_or_read(store: Store, tmp_path: Path) -> None:
    make_run(
        store, "r", f'{{"_step": 0, "a": {"9" * 5000}}}', f'{{"_step": {"9" * 30}, "a": 1e999}}'
    )
    async with connected(store) as api:
        await all_of_it(api, tmp_path / "out")


@pytest.mark.parametrize(
    ("lines", "steps"),
    [
        pytest.param(2**62, 2**62, marks=pytest.mark.slow),
        (-1, -5),
        (10**6, 3),
        (0, 2**53),
    ],
    ids=str,
)
async def test_a_history_with_a_false_size_is_an_error_or_read(
    store: Store, tmp_path: Path, lines: int, steps: int
) -> None:
    make_run(store, "r", *(f'{{"_step": {i}, "a": 1}}' for i in range(5)))

    def lie(data: Any) -> None:
        project = data.get("project") or {}
        edges = project.get("runs", {}).get("edges", [])
        for member in [*(edge["node"] for edge in edges), *project.values()]:
            if isinstance(member, dict) and "historyLineCount" in member:
                member["historyLineCount"] = lines
                member["historyKeys"] = {"lastStep": steps, "keys": {}}

    async with connected(store, lie) as api:
        await all_of_it(api, tmp_path / "out")
        assert api.traffic.requests < 1000


async def test_a_file_larger_than_announced_is_refused(store: Store, tmp_path: Path) -> None:
    run = make_run(store)
    store.files.add(run, "x.bin", bytes(3_000_000))

    def understate(data: Any) -> None:
        for edge in data["project"].get("run", {}).get("files", {}).get("edges", []):
            edge["node"]["sizeBytes"] = 1000

    async with connected(store, understate) as api:
        file = await (await api.run(f"{PATH}/r")).file("x.bin")
        with pytest.raises(ContentError, match="larger than the 1,000 bytes that W&B announced"):
            await file.download(tmp_path / "out")
        assert api.traffic.received_bytes < 2_000_000
    assert list((tmp_path / "out").iterdir()) == []


async def test_a_file_of_unknown_size_that_unpacks_without_end_is_not_taken(
    store: Store, tmp_path: Path
) -> None:
    store.files.add(make_run(store), "x.bin", b"small")

    def conceal(data: Any) -> None:
        for edge in data["project"].get("run", {}).get("files", {}).get("edges", []):
            edge["node"] |= {"sizeBytes": None, "md5": None}

    async with connected(store, conceal, Weather(faults=("bomb",), rate=1.0)) as api:
        api._session.max_response_bytes = 1_000_000
        file = await (await api.run(f"{PATH}/r")).file("x.bin")
        with pytest.raises(TooLargeError, match=r"x\.bin: .* more than 1,000,000 bytes"):
            await file.download(tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


async def test_a_response_has_at_most_the_memory_that_there_is_for_rows(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "_LEAST_LIMIT", 1_000)
    monkeypatch.setenv("AIOWANDB_MAX_MEMORY", "100000")
    make_run(store)
    async with connected(store, lambda data: data.update(more="x" * 100_000)) as api:
        with pytest.raises(TooLargeError, match="Viewer: wandb.test sent more than 100,000 bytes"):
            await api.viewer()


def parquet(**columns: Any) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


def claiming(rows: int, where: bytes) -> bytes:
    """A Parquet file of 7,777 rows whose metadata says otherwise."""
    content = parquet(_step=list(range(7777)))
    size = int.from_bytes(content[-8:-4], "little")
    claimed = content[-8 - size : -8].replace(where + thrift(7777), where + thrift(rows))
    return content[: -8 - size] + claimed + len(claimed).to_bytes(4, "little") + b"PAR1"


def thrift(number: int) -> bytes:
    """The number as Parquet's metadata has it: zigzag, seven bits a byte."""
    rest, found = number * 2 if number >= 0 else -number * 2 - 1, b""
    while rest > 127:
        found += bytes([rest % 128 + 128])
        rest //= 128
    return found + bytes([rest])


def twins() -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table([pa.array([1])] * 3, ["_step", "a", "a"]), file)
    return file.getvalue()


def deep(kind: pa.DataType, levels: int) -> pa.DataType:
    return pa.struct([pa.field("x", deep(kind, levels - 1))]) if levels else kind


ABSURD = {
    "no steps": parquet(a=[1]),
    "columns of the same name": twins(),
    "nothing": b"",
    "steps of text": parquet(_step=["a"]),
    "steps that are lists": parquet(_step=[[1]]),
    "steps that are not whole": parquet(_step=[0.5]),
    "steps of more bits": parquet(_step=pa.array([2**64 - 1], pa.uint64())),
    "fewer rows than none": claiming(-1, b"\x16"),
    "a footer larger than the file": parquet(_step=[0])[:-8] + b"\xff\xff\xff\x7fPAR1",
    "a schema without end": parquet(
        _step=[0],
        a=pa.array([None], deep(pa.int8(), 300)),
    ),
}


def serve_instead(store: Store, content: bytes, folder: Path) -> None:
    """Make this the file of each history."""
    path = folder / "other.parquet"
    path.write_bytes(content)
    store.history.columns_path = lambda token: path  # type: ignore[method-assign]


@pytest.mark.parametrize("absurdity", ABSURD)
async def test_a_parquet_file_that_is_mostly_promises_is_an_error(
    store: Store, tmp_path: Path, absurdity: str
) -> None:
    # Without a key that all rows have, it is not known that the file is not of this run.
    run = make_run(
        store, "r", '{"_step": 0}', *(f'{{"_step": {i}, "a": {i}}}' for i in range(1, 100))
    )
    store.finish(run)
    serve_instead(store, ABSURD[absurdity], tmp_path)
    async with connected(store) as api:
        result = await api.runs(PATH).export(tmp_path / "out")
        with pytest.raises(ServerError, match="cannot be read"):
            await all_rows(api)
    assert [failure.run for failure in result.failed] == ["r"]
    assert "cannot be read" in str(result.failed[0].error)


async def all_rows(api: AsyncApi) -> list[dict[str, Any]]:
    return [row async for row in (await api.run(f"{PATH}/r")).scan_history()]


async def test_a_parquet_file_that_promises_more_rows_than_it_has_gives_those_that_it_has(
    store: Store, tmp_path: Path
) -> None:
    run = make_run(store, "r", *(f'{{"_step": {i}}}' for i in range(7777)))
    store.finish(run)
    serve_instead(store, claiming(2**60, b"\x16"), tmp_path)
    async with connected(store) as api:
        assert len(await all_rows(api)) == 7777


def test_terminal_escape_sequences_are_not_printed(store: Store) -> None:
    evil = "\x1b]0;owned\x07\x1b[2J\x9b31m\rrm -rf"
    make_run(store, "r", '{"_step": 0, "\\u001b[2Jkey": 1}', display_name=evil, notes=evil)
    commands = [
        [*command, *choice]
        for command in (["runs", PATH], ["run", f"{PATH}/r"], ["history", f"{PATH}/r"])
        for choice in ([], ["--format=json"], ["--format=csv"])
        if (command[0], *choice) != ("run", "--format=csv")
    ]
    with serve_in_thread(create_app(store)) as url:
        for command in [*commands, ["history", f"{PATH}/r", "--plot", "--keys", "\x1b[2Jkey"]]:
            shown = aiowandb_on_terminal(*command, "--base-url", url, WANDB_API_KEY=store.local_key)
            # What rich itself sends are colours and nothing else.
            text = re.sub(r"\x1b\[[\d;]*m|\r+(?=\n)", "", shown)
            assert not {"\x1b", "\x07", "\r", "\x9b"}.intersection(text), command


def test_terminal_escape_sequences_reach_programs_unchanged(store: Store) -> None:
    evil = "\x1b[2J\x9b31m"
    make_run(store, "r", "{}", display_name=evil)
    with serve_in_thread(create_app(store)) as url:
        for kind in ("json", "csv"):
            command = ["runs", PATH, f"--format={kind}", "--base-url", url]
            done = aiowandb(*command, WANDB_API_KEY=store.local_key)
            assert done.returncode == 0
            (row,) = (
                map(orjson.loads, done.stdout.splitlines())
                if kind == "json"
                else csv.DictReader(io.StringIO(done.stdout))
            )
            assert row["name"] == evil
