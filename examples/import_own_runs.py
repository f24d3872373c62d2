"""Runs of one's own tracker into W&B: a source says what the runs are, and gives their rows.

python examples/import_own_runs.py notes.sqlite entity/imported
"""

import sqlite3
import sys
from collections.abc import AsyncGenerator

import anyio
import pyarrow as pa

from aiowandb import AsyncApi, RunFacts, Source, SourceRun


class Notes(Source):
    """The runs in a database with the table `loss (run, step, loss)`."""

    name = "my notes"

    def __init__(self, path: str) -> None:
        self.database = sqlite3.connect(path)

    async def runs(self) -> AsyncGenerator[SourceRun]:
        for (run,) in self.database.execute("SELECT DISTINCT run FROM loss"):
            yield Noted(RunFacts.of(run, tags=("noted",)), self.database)

    async def aclose(self) -> None:
        self.database.close()


class Noted(SourceRun):
    def __init__(self, facts: RunFacts, database: sqlite3.Connection) -> None:
        super().__init__(facts)
        self.database = database

    async def rows(self) -> AsyncGenerator[pa.RecordBatch]:
        query = "SELECT step, loss FROM loss WHERE run = ? ORDER BY step"
        cursor = self.database.execute(query, (self.facts.id,))
        while rows := cursor.fetchmany(10_000):
            steps, losses = zip(*rows, strict=True)
            yield pa.record_batch({"_step": pa.array(steps), "loss": pa.array(losses)})


async def main(path: str, project: str) -> None:
    async with AsyncApi() as api:
        report = await api.import_runs(Notes(path), project, verify=True)
        print(report.counts, report.carried, report.differences)


anyio.run(main, sys.argv[1], sys.argv[2])
