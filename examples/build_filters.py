"""Filters that an editor completes: the runs with a tag, a learning rate and a low loss.

python examples/build_filters.py entity/project baseline 0.001 loss
"""

import sys

import anyio

from aiowandb import AsyncApi
from aiowandb.filters import config, state, summary, tag


async def main(project: str, wanted: str, lr: float, metric: str) -> None:
    done = ~state.is_in(["crashed", "failed"])
    filters = done & (tag == wanted) & ((config("lr") >= lr) | (summary(metric) < 0.1))
    async with AsyncApi() as api:
        runs = api.runs(project, filters)
        print(await runs.count(), "runs with", filters)
        async for run in runs:
            print(run.name, run.config["lr"], run.summary[metric])


anyio.run(main, sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4])
