"""The rows of a project into a file of one's own format, from an asyncio program.

python examples/asyncio_sink.py entity/project train/loss losses.tsv

A sink of an export writes in a thread, see own_sink.py. Whoever writes in the event loop
takes the batches from there: while one is written, the next ones are on their way.
"""

import asyncio
import sys

import aiofiles

from aiowandb import AsyncApi


async def main(project: str, key: str, path: str) -> None:
    rows = 0
    async with AsyncApi() as api, aiofiles.open(path, "w") as file:
        async for run, batch in api.scan_histories(api.runs(project), keys=[key], ordered=True):
            columns = batch.column("_step").to_pylist(), batch.column(key).to_pylist()
            lines = [f"{run.id}\t{step}\t{value}\n" for step, value in zip(*columns, strict=True)]
            await file.writelines(lines)
            rows += len(lines)
    print(f"{rows} rows in {path}")


asyncio.run(main(*sys.argv[1:]))
