"""Write the rows of a project to a file in your own format, from an asyncio program.

python examples/asyncio_sink.py entity/project train/loss losses.tsv

AiofilesSink writes without blocking the event loop: while one batch is written, the next ones
are being downloaded. For a sink that an export writes to from its thread, see own_sink.py.
"""

import asyncio
import sys

import pyarrow as pa

from aiowandb import AiofilesSink, AsyncApi, Run


async def main(project: str, key: str, path: str) -> None:
    def tab_separated(run: Run, batch: pa.RecordBatch) -> str:
        columns = batch.column("_step").to_pylist(), batch.column(key).to_pylist()
        return "".join(f"{run.id}\t{step}\t{value}\n" for step, value in zip(*columns, strict=True))

    async with AsyncApi() as api, AiofilesSink(path, tab_separated) as sink:
        async for run, batch in api.scan_histories(api.runs(project), keys=[key], ordered=True):
            await sink.write(run, batch)
    print(f"{sink.rows} rows in {path}")


asyncio.run(main(*sys.argv[1:]))
