"""aiowandb. What would be imported at first use is imported at once: no clock is on."""

from __future__ import annotations

import pickle
import time

import anyio
import pandas as pd  # noqa: F401 - by pyarrow
import pyarrow as pa
import pyarrow.csv

import aiowandb.export
import aiowandb.history.loops
import aiowandb.net.aiohttp_transport
import aiowandb.readplan  # noqa: F401
from aiowandb import Api, AsyncApi
from benchmarks.contenders.clock import Job, Outcome, measured
from benchmarks.origin.project import PATH

KEY = "0" * 40
anyio.run(anyio.sleep, 0)


def export(job: Job) -> Outcome:
    async def go() -> int:
        async with _api(job) as api:
            return (await api.runs(PATH).export(job.folder)).rows

    return Outcome(anyio.run(go))


def list_to_csv(job: Job) -> Outcome:
    async def go() -> int:
        async with _api(job) as api:
            table = await api.runs(PATH).to_arrow()
        names = [f.name for f in table.schema if not pa.types.is_list(f.type)]
        pa.csv.write_csv(table.select(names), job.folder / "runs.csv")
        return int(table.num_rows)

    return Outcome(anyio.run(go))


def first_row(job: Job) -> Outcome:
    async def go() -> Outcome:
        async with _api(job) as api:
            run = await api.runs(PATH)[0]
            started = time.perf_counter()
            async for _ in run.scan_history():
                break
            return Outcome(1, time.perf_counter() - started)

    return anyio.run(go)


def iterate_batches(job: Job) -> Outcome:
    async def go() -> int:
        rows = 0
        async with _api(job) as api:
            async for run in api.runs(PATH):
                async for batch in run.scan_history_batches():
                    rows += batch.num_rows
        return rows

    return Outcome(anyio.run(go))


def iterate_rows(job: Job) -> Outcome:
    async def go() -> int:
        rows = 0
        async with _api(job) as api:
            async for run in api.runs(PATH):
                async for _ in run.scan_history():
                    rows += 1
        return rows

    return Outcome(anyio.run(go))


def iterate_rows_blocking(job: Job) -> Outcome:
    with Api(KEY, base_url=job.url) as api:
        return Outcome(sum(1 for run in api.runs(PATH) for _ in run.scan_history()))


def sample_rows(job: Job) -> Outcome:
    async def go() -> int:
        async with _api(job) as api:
            return len(await api.runs(PATH).histories())

    return Outcome(anyio.run(go))


def plan_and_cut(job: Job) -> Outcome:
    """A plan in a thousand parts; `first_row` is the CPU that it takes to cut and pickle them."""

    async def go() -> Outcome:
        async with _api(job) as api:
            plan = await api.runs(PATH).plan()
        before = time.process_time()
        sizes = [len(pickle.dumps(part)) for part in plan.parts(1_000)]
        return Outcome(plan.rows if all(sizes) else 0, time.process_time() - before)

    return anyio.run(go)


def stream_parts(job: Job) -> Outcome:
    """The parts of the same plan; `first_row` is when the first one is there."""

    async def go() -> Outcome:
        started, first, rows = time.perf_counter(), 0.0, 0
        async with _api(job) as api:
            async for part in api.runs(PATH).stream_parts(job.runs):
                first = first or time.perf_counter() - started
                rows += part.rows
        return Outcome(rows, first)

    return anyio.run(go)


def read_parts(job: Job) -> Outcome:
    """All rows of a plan, part after part, as one of many workers would."""
    with Api(KEY, base_url=job.url) as api:
        parts = api.runs(PATH).plan().parts(20)
    return Outcome(sum(batch.num_rows for part in parts for batch in part.read()))


def _api(job: Job) -> AsyncApi:
    return AsyncApi(KEY, base_url=job.url)


if __name__ == "__main__":
    measured(
        export,
        list_to_csv,
        first_row,
        iterate_batches,
        iterate_rows,
        iterate_rows_blocking,
        sample_rows,
        plan_and_cut,
        stream_parts,
        read_parts,
    )
