"""Write the rows of a project directly to your own database, without a file.

python examples/own_sink.py entity/project wandb.sqlite
"""

import sqlite3
import sys

import anyio
import pyarrow as pa

from aiowandb import AsyncApi


class Database:
    """A sink: it is given batches of rows, one after the other, in a worker thread."""

    def __init__(self, path: str) -> None:
        self.connection = sqlite3.connect(path, check_same_thread=False)
        self.connection.execute("CREATE TABLE loss (run TEXT, step INTEGER, loss REAL)")

    def write(self, batch: pa.RecordBatch) -> None:
        columns = [batch.column(name).to_pylist() for name in ("run_id", "_step", "train/loss")]
        with self.connection:
            self.connection.executemany(
                "INSERT INTO loss VALUES (?, ?, ?)", zip(*columns, strict=True)
            )

    def close(self) -> None:
        self.connection.close()


async def main(project: str, path: str) -> None:
    async with AsyncApi() as api:
        result = await api.runs(project).export(Database(path), keys=["train/loss"])
        print(f"{result.rows} rows of {result.runs} runs in {path}")


anyio.run(main, sys.argv[1], sys.argv[2])
