"""All rows of a project as a Dataset of Ray, read by its workers.

python examples/parts_in_ray.py entity/project train/loss
"""

import sys
from collections.abc import Iterator

import pyarrow as pa
import ray  # pyright: ignore[reportMissingImports]

from aiowandb import Api, ReadPart


def read(row: dict[str, ReadPart]) -> Iterator[dict[str, object]]:
    for batch in row["item"].read():
        yield from batch.to_pylist()


if __name__ == "__main__":
    project, key = sys.argv[1:]
    with Api() as api:
        plan = api.runs(project).plan(keys=[key])
    ray.init(num_cpus=2, include_dashboard=False, logging_level="ERROR")
    rows = ray.data.from_items(plan.parts(16)).flat_map(read)
    least = rows.groupby("run_id").min(key).to_pandas()
    print(pa.Table.from_pandas(least).num_rows, "runs")
    ray.shutdown()
