"""All rows of a project, read by several processes without a key or an event loop.

python examples/parts_in_processes.py entity/project train/loss
"""

import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from aiowandb import Api, ReadPart


def rows_and_sum(part: ReadPart, key: str) -> tuple[int, float]:
    table = part.reader([key]).read_all()
    return table.num_rows, sum(filter(None, table[key].to_pylist()))


if __name__ == "__main__":
    project, key = sys.argv[1:]
    with Api() as api:
        parts = api.runs(project).plan(keys=[key]).parts(8)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        found = list(pool.map(rows_and_sum, parts, [key] * len(parts)))
    rows, total = (sum(column) for column in zip(*found, strict=True))
    print(f"{rows} rows in {len(parts)} parts, mean {key} {total / rows:.4f}")
