"""The best run of a sweep by the sweep's metric, and the model that it saved.

python examples/best_run_of_a_sweep.py entity/project/sweep_id model.h5 models
"""

import sys

import anyio

from aiowandb import AsyncApi


async def main(path: str, model: str, folder: str) -> None:
    async with AsyncApi() as api:
        sweep = await api.sweep(path)
        best = await sweep.best_run()
        if best is None:
            sys.exit("The sweep has no runs yet.")
        print(f"{best.name} is the best of {await sweep.runs.count()} by {sweep.order}")
        file = await best.file(model)
        print(await file.download(folder, replace=True))


anyio.run(main, sys.argv[1], sys.argv[2], sys.argv[3])
