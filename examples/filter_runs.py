"""The finished runs of a project with a high learning rate, the best first.

python examples/filter_runs.py entity/project loss
"""

import sys

import anyio

from aiowandb import AsyncApi


async def main(project: str, metric: str) -> None:
    async with AsyncApi() as api:
        runs = api.runs(
            project,
            filters={"$and": [{"state": "finished"}, {"config.lr": {"$gt": 0.001}}]},
            order=f"+summary_metrics.{metric}",
        )
        print(await runs.count(), "runs")
        async for run in runs:
            print(run.id, run.config["lr"], run.summary.get(metric))


anyio.run(main, sys.argv[1], sys.argv[2])
