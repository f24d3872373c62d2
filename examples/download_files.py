"""Download the files of a run whose names match a pattern, with % as a wildcard.

python examples/download_files.py entity/project/run_id "media/images/%.png" pictures
"""

import sys

import anyio

from aiowandb import AsyncApi


async def main(path: str, pattern: str, folder: str) -> None:
    async with AsyncApi() as api:
        run = await api.run(path)
        for file in await run.files(pattern=pattern).download(folder, exist_ok=True):
            print(file)


anyio.run(main, sys.argv[1], sys.argv[2], sys.argv[3])
