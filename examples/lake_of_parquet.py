"""A lake of Parquet with a folder per run, kept up to date by running this repeatedly.

python examples/lake_of_parquet.py entity/project lake
"""

import json
import sys
from pathlib import Path

import pyarrow.dataset as ds

from aiowandb import Api

project, lake = sys.argv[1], Path(sys.argv[2])
state = lake / "last_steps.json"
done = json.loads(state.read_text()) if state.exists() else {}
with Api() as api:
    plan = api.runs(project).plan(after=done)
if plan.rows:
    # The number of the job is in the names of its files: killed and run again, it writes the same.
    name = f"job-{sum(done.values())}-{{i}}.parquet"
    by_run = ds.partitioning(plan.schema.empty_table().select(["run_id"]).schema, flavor="hive")
    ds.write_dataset(
        plan.reader(),
        lake / "history",
        format="parquet",
        partitioning=by_run,
        basename_template=name,
        existing_data_behavior="overwrite_or_ignore",
        max_partitions=100_000,
    )
state.parent.mkdir(exist_ok=True)
state.write_text(json.dumps(plan.last_steps))
print(f"{plan.rows} new rows of {len(plan.last_steps)} runs")
