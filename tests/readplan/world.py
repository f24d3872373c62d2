"""A W&B on a port with all kinds of runs, and the rows that an export has of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from aiowandb import Api
from aiowandb.choices import HistoryMode, What
from aiowandb.wire import lenient
from aiowandb_server import RunChanges, Store, create_app, serve_in_thread
from aiowandb_server.store.records import ProjectRow, RunRow

PATH = "local/demo"
IMAGE = {"_type": "image-file", "path": "media/x.png", "size": 3}


class World:
    """An embedded W&B and the runs that are put into it."""

    def __init__(self, store: Store) -> None:
        self.store = store

    @property
    def key(self) -> str:
        return self.store.local_key

    @property
    def project(self) -> ProjectRow:
        return self.store.projects.ensure("local", "demo")[0]

    def add_run(
        self, name: str, rows: Iterable[Mapping[str, Any]], *, finished: bool = True
    ) -> RunRow:
        user = self.store.accounts.ensure_user("local")
        run, _ = self.store.runs.upsert(self.project, name, RunChanges(user_id=user.id))
        self.store.history.append(run, [lenient.dumps(row) for row in rows])
        if finished:
            self.store.finish(run, exit_code=0)
        return run

    def add_odd_runs(self) -> None:
        """Clashes, NaN, media, nests, names like ours, no rows, gaps, a live run."""
        self.add_run("plain", ({"_step": i, "loss": i / 2, "epoch": i // 3} for i in range(50)))
        self.add_run("nan", [{"_step": 0, "loss": math.nan}, {"_step": 1, "loss": -math.inf}])
        self.add_run("clash", [{"_step": i, "loss": f"text {i}", "epoch": [i]} for i in range(5)])
        self.add_run(
            "nested",
            [
                {"_step": i, "val": {"acc": i / 3, "deep": {"x": i}}, "lit.eral": True}
                for i in range(0, 40, 3)
            ],
        )
        self.add_run("media", [{"_step": 4, "image": IMAGE, "list": [1.5, 2], "run_id": "mine"}])
        self.add_run("empty", [])
        self.add_run("late", [{"_step": 10**6 + i, "epoch": i, "loss": 0.1} for i in range(3)])
        self.add_run(
            "live",
            ({"_step": i, "loss": i / 7, "only_live": {"a": i}} for i in range(30)),
            finished=False,
        )

    @contextmanager
    def serve(self, history: HistoryMode = "parquet") -> Iterator[str]:
        with serve_in_thread(create_app(self.store, history=history)) as url:
            yield url


def exported(api: Api, folder: Path, *, table: What = "history", **options: Any) -> pa.Table:
    """The rows that an export has of the project."""
    api.runs(PATH).export(folder, what=[table], **options)
    files = sorted((folder / table).glob("*.parquet"))
    return pa.concat_tables([pq.read_table(file) for file in files])


def values(table: pa.Table) -> list[tuple[str, list[str]]]:
    """The columns by name, each value as text, so that NaN equals itself."""
    return [(name, list(map(repr, table[name].to_pylist()))) for name in table.schema.names]


def of_batches(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> pa.Table:
    return pa.Table.from_batches(list(batches), schema=schema)
