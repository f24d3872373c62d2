"""Append new rows of some keys to an Iceberg table: run it repeatedly, each row is added once.

python examples/append_to_iceberg.py entity/project folder train/loss
"""

import json
import sys
from pathlib import Path

import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog  # pyright: ignore[reportMissingImports]

from aiowandb import Api

project, folder, *keys = sys.argv[1:]
lake = Path(folder).resolve()
lake.mkdir(parents=True, exist_ok=True)
catalog = SqlCatalog("lake", uri=f"sqlite:///{lake}/catalog.db", warehouse=lake.as_uri())
catalog.create_namespace_if_not_exists("wandb")


def plain(schema: pa.Schema) -> pa.Schema:
    return schema.set(0, pa.field("run_id", pa.string()))


with Api() as api:
    runs = api.runs(project)
    if catalog.table_exists("wandb.history"):
        table = catalog.load_table("wandb.history")
        plan = runs.plan(keys, after=json.loads(table.properties.get("last_steps", "{}")))
    else:
        plan = runs.plan(keys)
        table = catalog.create_table("wandb.history", plain(plan.schema))
rows = plan.reader().read_all()
# The rows and how far they go are one commit: a job that is killed has written both or neither.
with table.transaction() as change:
    change.append(rows.cast(plain(rows.schema)))
    change.set_properties(last_steps=json.dumps(plan.last_steps))
print(f"{rows.num_rows} new rows, {len(table.scan().to_arrow())} in all")
