"""Download an artifact, and show its attributes and the run that logged it.

python examples/download_artifact.py entity/project/name:latest data
"""

import sys

import anyio

from aiowandb import AsyncApi


async def main(name: str, folder: str) -> None:
    async with AsyncApi() as api:
        artifact = await api.artifact(name)
        maker = await artifact.logged_by()
        print(artifact.qualified_name, artifact.type, f"{artifact.size:,} bytes")
        print("made by", maker.name if maker else "no run")
        result = await artifact.download(folder)
        print(len(result.files), "files,", result.fetched, "of them fetched now")
        for entry, target in result.references.items():
            print(entry, "is not at W&B but at", target)


anyio.run(main, sys.argv[1], sys.argv[2])
