"""All rows of a project as a Dask DataFrame, whose parts are read by the workers.

python examples/parts_in_dask.py entity/project train/loss
"""

import sys

import dask.dataframe as dd  # pyright: ignore[reportMissingImports]
import pandas as pd
from dask.distributed import Client  # pyright: ignore[reportMissingImports]

from aiowandb import Api, ReadPart


def frame(part: ReadPart) -> pd.DataFrame:
    return part.reader().read_pandas().astype({"run_id": str})


if __name__ == "__main__":
    project, key = sys.argv[1:]
    with Api() as api:
        plan = api.runs(project).plan(keys=[key])
    meta = plan.schema.empty_table().to_pandas().astype({"run_id": str})
    with Client(n_workers=2, threads_per_worker=1, dashboard_address=":0"):
        rows = dd.from_map(frame, plan.parts(16), meta=meta)
        print(rows.groupby("run_id")[key].min().compute().sort_values().to_string())
