"""Files and responses that stand for more rows than fit into memory."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aiowandb.config.settings import Settings
from aiowandb.errors import TooLargeError, UsageError
from aiowandb.history.bounded import bounded_batches
from aiowandb.history.segments import read_segment
from aiowandb.history.selection import Selection
from aiowandb.net import MemoryBudget, Session
from aiowandb.redaction import Link
from aiowandb_server import create_app, serve_in_thread
from aiowandb_server.graphql import context
from tests.history.conftest import PROJECT, Mode, World
from tests.support import thrift
from tests.support.shelf import Shelf
from tests.support.thrift import changed_footer

MB = 1 << 20


def opened(content: bytes, read_dictionary: list[str] | None = None) -> pq.ParquetFile:
    source = pa.BufferReader(content)
    return pq.ParquetFile(source, read_dictionary=read_dictionary, pre_buffer=False)


def batches_of(table: pa.Table, most_bytes: int, **options: Any) -> list[pa.RecordBatch]:
    file = io.BytesIO()
    pq.write_table(table, file, **options)
    assert len(file.getvalue()) < 2 * MB
    return read_batches(file.getvalue(), table.schema.names, most_bytes)


def read_batches(content: bytes, names: list[str], most_bytes: int) -> list[pa.RecordBatch]:
    parquet = opened(content)
    groups = list(range(parquet.num_row_groups))

    def reopen(
        *, read_dictionary: list[str] | None = None, metadata: pq.FileMetaData | None = None
    ) -> pq.ParquetFile:
        return opened(content, read_dictionary)

    memory = MemoryBudget(32 * most_bytes)
    return list(bounded_batches(parquet, reopen, groups, names, memory))


def repeated(text: str, rows: int) -> pa.Table:
    column = pa.DictionaryArray.from_arrays(
        pa.repeat(pa.scalar(0, pa.int32()), rows), pa.array([text])
    )
    return pa.table({"_step": range(rows), "text": column})


def test_a_long_text_that_a_file_repeats_is_read_in_small_batches() -> None:
    batches = batches_of(repeated("x" * 100_000, 2_000), 4 * MB)
    assert sum(batch.num_rows for batch in batches) == 2_000
    assert max(batch.nbytes for batch in batches) < 5 * MB
    assert set(batches[-1].column("text").to_pylist()) == {"x" * 100_000}
    assert [batch.column("_step")[0].as_py() for batch in batches] == sorted(
        batch.column("_step")[0].as_py() for batch in batches
    )


def test_so_is_one_whose_footer_hides_that_it_is_repeated() -> None:
    file = io.BytesIO()
    pq.write_table(repeated("x" * 100_000, 2_000), file)
    content = changed_footer(file.getvalue(), _hide_dictionary)
    batches = read_batches(content, ["_step", "text"], 4 * MB)
    assert sum(batch.num_rows for batch in batches) == 2_000
    assert max(batch.nbytes for batch in batches) < 5 * MB


def _hide_dictionary(column: thrift.Struct) -> None:
    metadata = column[3][1]
    metadata.update({6: (thrift.I64, 1), 9: metadata.pop(11)})


def test_short_texts_that_a_file_repeats_are_read_in_large_batches() -> None:
    words = pa.array([f"word {i % 50}" for i in range(40_000)])
    batches = batches_of(pa.table({"_step": range(40_000), "text": words}), 32 * MB)
    assert [batch.num_rows for batch in batches] == [16_384, 16_384, 7_232]


def test_a_file_of_texts_without_rows_is_read() -> None:
    assert batches_of(repeated("x", 0), MB) == []


def test_texts_in_lists_that_a_file_repeats_are_read_in_small_batches() -> None:
    lists = pa.array([["x" * 50_000]] * 400)
    batches = batches_of(pa.table({"_step": range(400), "texts": lists}), 2 * MB)
    assert max(batch.nbytes for batch in batches) < 3 * MB
    assert sum(batch.num_rows for batch in batches) == 400


@pytest.mark.parametrize("value", [0.5, None], ids=str)
def test_long_lists_of_one_number_are_read_in_small_batches(value: float | None) -> None:
    lists = pa.array([[value] * 20_000] * 60, pa.list_(pa.float64()))
    batches = batches_of(pa.table({"_step": range(60), "list": lists}), MB)
    assert max(batch.nbytes for batch in batches) < 2 * MB
    assert sum(batch.num_rows for batch in batches) == 60


def test_wide_values_that_a_file_repeats_are_read_in_small_batches() -> None:
    wide = pa.array([b"x" * 50_000] * 200, pa.binary(50_000))
    batches = batches_of(pa.table({"_step": range(200), "wide": wide}), 2 * MB, compression="zstd")
    assert max(batch.nbytes for batch in batches) < 3 * MB
    assert sum(batch.num_rows for batch in batches) == 200


def test_columns_of_nulls_are_read_in_small_batches() -> None:
    columns = {f"k{i}": pa.nulls(4_000, pa.float64()) for i in range(400)}
    batches = batches_of(pa.table({"_step": range(4_000), **columns}), MB)
    assert max(batch.nbytes for batch in batches) < 2 * MB
    assert sum(batch.num_rows for batch in batches) == 4_000


@pytest.mark.slow
@pytest.mark.anyio
async def test_windows_whose_rows_are_long_are_made_smaller(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"_step": i, "text": f"{i} " + "x" * 20_000} for i in range(600)]
    world.add_run("long", rows)
    monkeypatch.setenv("AIOWANDB_MAX_MEMORY", str(16 * MB))  # a response of 1 MB
    async with world.api("json") as api:
        run = await api.run(f"{PROJECT}/long")
        found, sizes = [], []
        async for batch in run.scan_history_batches():
            found += batch.column("text").to_pylist()
            sizes.append(batch.nbytes)
        assert found == [row["text"] for row in rows]
        assert max(sizes) < 2 * MB
        # Not each page is found to be too large first.
        assert api.traffic.requests < 60


@pytest.mark.anyio
async def test_windows_that_a_server_finds_too_large_are_made_smaller(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context, "MAX_TEXT", MB)
    rows = [{"_step": i, "text": f"{i} " + "x" * 20_000} for i in range(300)]
    world.add_run("long", rows)
    async with world.api("json") as api:
        run = await api.run(f"{PROJECT}/long")
        assert [row["text"] async for row in run.scan_history()] == [row["text"] for row in rows]
        assert api.traffic.requests < 40


def test_max_memory_comes_from_the_argument_or_the_environment() -> None:
    environ = {"AIOWANDB_MAX_MEMORY": "50000000"}
    assert Settings.load(environ=environ).max_memory == 50_000_000
    assert Settings.load(max_memory=10**9, environ=environ).max_memory == 10**9
    assert Settings.load(environ={"AIOWANDB_MAX_MEMORY": "64MB"}).max_memory == 64 << 20
    assert Settings.load(environ={}).max_memory == 1 << 30
    for odd in ("lots", "0", "-1", "1e9"):
        with pytest.raises(UsageError, match=f"AIOWANDB_MAX_MEMORY is '{odd}', not a size"):
            Settings.load(environ={"AIOWANDB_MAX_MEMORY": odd})


def file_of(*names: str, **options: Any) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table([pa.array([0, 1])] * len(names), list(names)), file, **options)
    return file.getvalue()


@pytest.mark.anyio
@pytest.mark.parametrize("is_large", [True, False])
async def test_more_columns_than_memory_has_room_for_are_refused(is_large: bool) -> None:
    content = file_of("_step", *(f"k{i}" for i in range(300)), row_group_size=1)
    settings = Settings.load(api_key="0" * 40, base_url="http://w.test", max_memory=4_000_000)
    link = Link("http://store.test/x")
    async with Session(settings, transport=httpx.ASGITransport(Shelf(content))) as session:
        with pytest.raises(TooLargeError, match=r"301 columns at once .* Increase max_memory"):
            async for _ in read_segment(session, link, Selection(), is_large=is_large):
                pass
        some = read_segment(session, link, Selection(keys=("k9",)), is_large=is_large)
        assert sum([rows.page.count async for rows in some]) == 2


@pytest.mark.anyio
@pytest.mark.parametrize("is_large", [True, False])
async def test_a_footer_that_memory_has_no_room_for_is_refused(is_large: bool) -> None:
    content = file_of("_step", "k" * 100_000)
    settings = Settings.load(api_key="0" * 40, base_url="http://w.test", max_memory=2_000_000)
    link = Link("http://store.test/x")
    async with Session(settings, transport=httpx.ASGITransport(Shelf(content))) as session:
        with pytest.raises(TooLargeError, match="footer of"):
            async for _ in read_segment(session, link, Selection(), is_large=is_large):
                pass


def one_page(length: int, **options: Any) -> bytes:
    """A file whose rows, with texts of this length, are in one page, or in more by the options."""
    file = io.BytesIO()
    table = pa.table({"_step": range(10_000), "text": ["x" * length] * 10_000})
    pq.write_table(table, file, use_dictionary=False, **{"data_page_size": 1 << 30, **options})
    return file.getvalue()


def one_row(value: Any) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({"_step": [0], "value": value}), file)
    return file.getvalue()


def nulls(count: int) -> Any:
    return pa.ListArray.from_arrays([0, count], pa.nulls(count, pa.float64()))


TOO_LARGE = {
    "a page": one_page(600),
    "a page on disk": one_page(600, compression="none"),
    "a page of the second version": one_page(600, data_page_version="2.0"),
    "a text": one_row(["x" * 5_000_000]),
    "a list": one_row([[0.5] * 50_000]),
    "a list of nulls": one_row(nulls(50_000)),
    "a list of texts": one_row([[""] * 50_000]),
}


async def count_rows(content: bytes, max_memory: int) -> int:
    settings = Settings.load(api_key="0" * 40, base_url="http://w.test", max_memory=max_memory)
    link = Link("http://store.test/x")
    async with Session(settings, transport=httpx.ASGITransport(Shelf(content))) as session:
        return sum([rows.page.count async for rows in read_segment(session, link, Selection())])


@pytest.mark.anyio
@pytest.mark.parametrize("content", TOO_LARGE.values(), ids=TOO_LARGE)
async def test_pages_and_rows_that_memory_has_no_room_for_are_refused(content: bytes) -> None:
    with pytest.raises(TooLargeError, match="Increase max_memory"):
        await count_rows(content, 4_000_000)
    assert await count_rows(content, 100_000_000) in (1, 10_000)


@pytest.mark.anyio
async def test_large_row_groups_of_small_pages_are_read() -> None:
    assert await count_rows(one_page(600, data_page_size=1 << 16), 4_000_000) == 10_000


# Scans a run in a process that may have so many bytes more than at its start.
LIMITED_SCAN = """
import asyncio, resource, sys, httpx
import pyarrow, pyarrow.parquet, pyarrow.compute
from aiowandb.config.settings import Settings
from aiowandb.errors import TooLargeError, UsageError
from aiowandb.history.scan import scan_run
from aiowandb.history.selection import Selection
from aiowandb.net import Session
from aiowandb.paths import RunRef
pyarrow.set_memory_pool(pyarrow.system_memory_pool())
content = sys.stdin.buffer.read()

def answer(request):
    if request.url.path != "/graphql":
        return httpx.Response(200, content=content)
    files = {"parquetUrls": ["http://store.test/1"], "liveData": []}
    plan = {"historyKeys": {"lastStep": 39_999}, "historyLineCount": 40_000}
    return httpx.Response(200, json={"data": {"project": {"r0": plan | {"parquetHistory": files}}}})

async def main():
    settings = Settings.load(api_key="0" * 40, base_url="http://w.test", max_memory=128 << 20)
    async with Session(settings, transport=httpx.MockTransport(answer)) as session:
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (400 << 20),) * 2)
        rows = size = 0
        try:
            async for page in scan_run(session, RunRef("e", "p", "r"), Selection()):
                rows, size = rows + page.count, size + page.nbytes
        except TooLargeError:
            print("too large")
        else:
            print(rows, size > 40_000 * 100_000)

asyncio.run(main())
"""

# Exports a project in such a process.
LIMITED_EXPORT = """
import asyncio, resource, sys, threading
import pyarrow, pyarrow.parquet, pyarrow.compute
threading.stack_size(1 << 20)  # addresses, of which a busy machine may take many
pyarrow.set_memory_pool(pyarrow.system_memory_pool())
from aiowandb import AsyncApi

async def main(url, key, out):
    async with AsyncApi(key, base_url=url, max_memory=64 << 20) as api:
        runs = api.runs("local/demo")
        await runs.count()
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (1000 << 20),) * 2)
        result = await runs.export(out)
        print(result.rows, len(result.failed))

asyncio.run(main(*sys.argv[1:]))
"""


def limited(script: str, *arguments: str, stdin: bytes = b"") -> str:
    process = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        input=stdin,
        timeout=300,
        # Each arena of the allocator reserves 64 MB of addresses.
        env={"MALLOC_ARENA_MAX": "1", "HOME": "/nowhere"},
        check=False,
    )
    assert process.returncode == 0, process.stderr.decode()[-3000:]
    return process.stdout.decode().strip()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs RLIMIT_AS and /proc")
def test_a_small_file_that_stands_for_4_gb_is_read_in_bounded_memory() -> None:
    file = io.BytesIO()
    pq.write_table(repeated("x" * 100_000, 40_000), file, store_schema=False)
    assert len(file.getvalue()) < MB
    assert limited(LIMITED_SCAN, stdin=file.getvalue()) == "40000 True"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs RLIMIT_AS and /proc")
@pytest.mark.parametrize(
    "content",
    [partial(one_page, 50_000, compression="zstd"), lambda: one_row(nulls(60_000_000))],
    ids=["page", "list"],
)
def test_a_page_or_list_of_500_mb_is_refused_in_bounded_memory(
    content: Callable[[], bytes],
) -> None:
    assert limited(LIMITED_SCAN, stdin=content()) == "too large"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs RLIMIT_AS and /proc")
@pytest.mark.parametrize("history", ["parquet", "json"])
def test_an_export_of_long_texts_takes_bounded_memory(
    world: World, tmp_path: Path, history: Mode
) -> None:
    texts = ({"_step": i, "text": f"{i} " + "x" * 100_000} for i in range(3_500))
    world.add_run("r", texts)
    with serve_in_thread(create_app(world.store, history=history)) as url:
        found = limited(LIMITED_EXPORT, url, world.store.local_key, str(tmp_path / "out"))
    assert found == "3500 0"
