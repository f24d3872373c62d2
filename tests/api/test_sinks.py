"""`AiofilesSink` on asyncio: a complete file or none, written without blocking the loop."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import pytest

from aiowandb import AiofilesSink, AsyncApi, UsageError
from tests.support.sample import ROWS, RUNS, Sample

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_rows_become_json_lines_that_name_their_run(
    api: AsyncApi, sample: Sample, tmp_path: Path
) -> None:
    path = tmp_path / "rows.jsonl"
    async with AiofilesSink(path) as sink:
        async for run, batch in api.scan_histories(api.runs(sample.path), keys=["train/loss"]):
            await sink.write(run, batch)
        assert not path.exists()
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert (len(rows), sink.rows, sink.bytes_written) == (RUNS * ROWS,) * 2 + (path.stat().st_size,)
    assert len({row["run_id"] for row in rows}) == RUNS
    assert all(row.keys() <= {"run_id", "_step", "train/loss"} for row in rows)


async def test_a_format_of_ones_own_is_made_in_another_thread(
    api: AsyncApi, sample: Sample, tmp_path: Path
) -> None:
    threads = set()

    def names(run: Any, batch: Any) -> str:
        threads.add(threading.get_ident())
        return f"{run.id} {batch.num_rows}\n"

    async with AiofilesSink(tmp_path / "out", names) as sink:
        async for run, batch in api.scan_histories(api.runs(sample.path)):
            await sink.write(run, batch)
    assert threading.get_ident() not in threads
    lines = (tmp_path / "out").read_text().split()
    assert sum(map(int, lines[1::2])) == sink.rows == RUNS * ROWS


async def test_after_an_error_or_a_cancellation_the_old_file_is_unchanged(
    api: AsyncApi, sample: Sample, tmp_path: Path
) -> None:
    path = tmp_path / "out"
    path.write_text("old")
    wrote = asyncio.Event()

    async def write(error: Exception | None) -> None:
        async with AiofilesSink(path) as sink:
            async for run, batch in api.scan_histories(api.runs(sample.path)):
                await sink.write(run, batch)
                wrote.set()
                if error:
                    raise error
                await asyncio.Event().wait()

    with pytest.raises(ValueError, match="mine"):
        await write(ValueError("mine"))
    task = asyncio.create_task(write(None))
    await wrote.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [file.read_text() for file in tmp_path.iterdir()] == ["old"]


async def test_a_logged_run_id_does_not_hide_the_runs_own(tmp_path: Path) -> None:
    async with AsyncApi.local(tmp_path / "wandb") as api:
        run = await api.create_run("mine", project="p")
        async with run.append(state="finished") as log:
            await log({"run_id": "theirs", "loss": float("nan")})
        async with AiofilesSink(tmp_path / "out") as sink:
            async for each, batch in api.scan_histories([run]):
                await sink.write(each, batch)
    row = json.loads((tmp_path / "out").read_text())
    assert (row["run_id"], row.get("loss")) == ("mine", None)


async def test_wrong_use_is_refused(api: AsyncApi, sample: Sample, tmp_path: Path) -> None:
    for wrong in (5, b"out", None):
        with pytest.raises(UsageError, match="path must be"):
            AiofilesSink(wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="encode must be a function"):
        AiofilesSink("out", 5)  # type: ignore[arg-type]
    sink, run = AiofilesSink(tmp_path / "out"), await api.runs(sample.path)[0]
    async for _, batch in api.scan_histories([run]):
        with pytest.raises(UsageError, match="inside `async with"):
            await sink.write(run, batch)
        with pytest.raises(UsageError, match="run must be a Run"):
            await sink.write(batch, run)  # type: ignore[arg-type]
    async with sink:
        with pytest.raises(UsageError, match="open already"):
            await sink.__aenter__()


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_on_trio_the_error_says_what_to_use(tmp_path: Path, anyio_backend: str) -> None:
    with pytest.raises(UsageError, match=r"on trio, use anyio\.open_file"):
        async with AiofilesSink(tmp_path / "out"):
            pass
    assert list(tmp_path.iterdir()) == []
