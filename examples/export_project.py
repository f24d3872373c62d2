"""Export a complete project to Parquet files: every run and every row.

python examples/export_project.py entity/project folder
"""

import sys

import anyio

from aiowandb import AsyncApi


async def main(project: str, folder: str) -> None:
    async with AsyncApi() as api:
        result = await api.runs(project).export(folder, format="parquet")
        print(f"{result.runs} runs, {result.rows} rows with {result.requests} requests")
        for file in result.files:
            print(file)


anyio.run(main, sys.argv[1], sys.argv[2])
