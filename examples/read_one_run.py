"""Read one run: its config, its state, and every row of its history.

python examples/read_one_run.py entity/project/run_id
"""

import sys

import anyio

from aiowandb import AsyncApi


async def main(path: str) -> None:
    async with AsyncApi() as api:
        run = await api.run(path)
        print(run.name, run.state, run.tags)
        print("config: ", run.config)
        print("summary:", run.summary)
        rows, last = 0, {}
        async for row in run.scan_history():
            rows, last = rows + 1, row
        print(rows, "rows, the last one with", ", ".join(last))


anyio.run(main, sys.argv[1])
