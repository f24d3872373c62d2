"""One metric of a run as Arrow columns: its mean, without a Python object per row.

python examples/batches_of_a_run.py entity/project/run_id loss
"""

import sys

import anyio
import pyarrow.compute as pc

from aiowandb import AsyncApi


async def main(path: str, key: str) -> None:
    async with AsyncApi() as api:
        run = await api.run(path)
        total, rows = 0.0, 0
        async for batch in run.scan_history_batches(keys=[key]):
            values = batch.column(key)
            finite = values.filter(pc.is_finite(values))
            total += pc.sum(finite).as_py() or 0.0
            rows += len(finite)
        print(f"mean {key} over {rows} rows: {total / rows:.4f}")


anyio.run(main, sys.argv[1], sys.argv[2])
