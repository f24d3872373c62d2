"""Add rows to the history of a finished run, here a metric that was computed later.

python examples/append_rows.py entity/project/run_id
"""

import sys

import anyio

from aiowandb import AsyncApi


async def main(path: str) -> None:
    async with AsyncApi() as api:
        run = await api.run(path)
        async with run.append() as log:
            for accuracy in (0.25, 0.5, 0.75):
                await log({"test/accuracy": accuracy})
        rows = [row async for row in run.scan_history(keys=["test/accuracy"])]
        print(run.state, run.summary["test/accuracy"], [row["_step"] for row in rows])


anyio.run(main, sys.argv[1])
