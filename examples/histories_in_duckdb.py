"""Query the histories of all runs of a project with SQL.

python examples/histories_in_duckdb.py entity/project loss
"""

import sys

import anyio
import duckdb
import pyarrow as pa

from aiowandb import AsyncApi


async def main(project: str, key: str) -> None:
    tables = []
    async with AsyncApi() as api:
        async for run, batch in api.scan_histories(api.runs(project), keys=[key]):
            names = pa.array([run.name] * batch.num_rows, pa.string())
            tables.append(pa.Table.from_batches([batch]).append_column("run", names))
    rows = duckdb.arrow(pa.concat_tables(tables, promote_options="permissive"))
    print(rows.aggregate(f'run, count(*) AS rows, min("{key}") AS least').order("least, run"))


anyio.run(main, sys.argv[1], sys.argv[2])
