"""Merge the rows of some keys into a Delta Lake table by run and step: run it repeatedly.

python examples/merge_into_delta.py entity/project table train/loss
"""

import sys

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake

from aiowandb import Api

project, path, *keys = sys.argv[1:]
with Api() as api:
    rows = api.runs(project).to_arrow_stream(keys).read_all()
rows = rows.set_column(0, "run_id", rows["run_id"].cast(pa.string()))
if DeltaTable.is_deltatable(path):
    merge = DeltaTable(path).merge(
        rows,
        "target.run_id = source.run_id AND target._step = source._step",
        source_alias="source",
        target_alias="target",
    )
    merge.when_matched_update_all().when_not_matched_insert_all().execute()
else:
    write_deltalake(path, rows)
print(f"{DeltaTable(path).to_pyarrow_table().num_rows} rows in {path}")
