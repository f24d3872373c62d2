"""Print the git commands that get the code of a run.

python examples/git_commit.py entity/project/run_id
"""

import sys

import anyio

from aiowandb import AsyncApi


async def main(path: str) -> None:
    async with AsyncApi() as api:
        run = await api.run(path)
        metadata = await run.metadata() or {}
        git = metadata.get("git", {})
        print("git clone", git.get("remote"))
        print("git checkout", run.commit or git.get("commit"))
        print("python", metadata.get("program"), *metadata.get("args", []))


anyio.run(main, sys.argv[1])
