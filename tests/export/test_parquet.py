"""Parquet files whose bytes come of their rows, and staged runs that come back as they were."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import fsspec
import pyarrow as pa
import pytest

from aiowandb.export.commit_pace import CommitPace
from aiowandb.export.folders.local import LocalFolder
from aiowandb.export.folders.locate import folder_at
from aiowandb.export.parquet import ParquetSink
from aiowandb.export.schema import LongSchema, RowSchema
from aiowandb.export.staging import StagingFile, staged_batches
from aiowandb.export.stored import RunSnapshot, StagedRun, StoredRun
from aiowandb.history.columns import Kind

KINDS = {
    "bool": Kind.BOOL,
    "int": Kind.INT,
    "float": Kind.FLOAT,
    "seldom": Kind.FLOAT,
    "text": Kind.TEXT,
    "list": Kind.FLOATS,
}


def rows(count: int) -> pa.RecordBatch:
    """Enough text and lists for several pages in a group, and more integers than a dictionary."""
    chance = Random(count)
    columns: dict[str, list[Any]] = {
        "bool": [chance.random() < 0.3 for _ in range(count)],
        "int": [chance.randrange(2**60) for _ in range(count)],
        "float": [chance.random() for _ in range(count)],
        "seldom": [chance.random() if i % 7 == 0 else None for i in range(count)],
        "text": ["x" * chance.randrange(200) + str(i) if i % 5 else None for i in range(count)],
        "list": [[chance.random()] * (i % 4) for i in range(count)],
    }
    arrays = [pa.array(values, KINDS[name].arrow) for name, values in columns.items()]
    return pa.RecordBatch.from_arrays([pa.array(range(count)), *arrays], ["_step", *columns])


def written(batch: pa.RecordBatch, sizes: Sequence[int]) -> bytes:
    schema = RowSchema(KINDS)
    file = io.BytesIO()
    sink = ParquetSink(file, schema.arrow)
    start = 0
    while start < batch.num_rows:
        for size in sizes:
            if part := batch.slice(start, size):
                sink.write(schema.fit("a run", part))
            start += size
    sink.close()
    return file.getvalue()


@pytest.mark.slow
def test_the_bytes_of_a_file_do_not_depend_on_how_its_rows_arrived() -> None:
    batch = rows(150_000)
    at_once = written(batch, [150_000])
    assert written(batch, [5_000]) == at_once
    assert written(batch, [1, 999, 16_384, 77_777]) == at_once


@pytest.mark.parametrize("schema", [RowSchema(KINDS), LongSchema({"value": Kind.FLOAT})])
def test_runs_that_are_staged_one_after_another_come_back_as_they_were(
    tmp_path: Path, schema: RowSchema
) -> None:
    """Larger and smaller ones use the same memory, and names of keys take some of it too."""
    folder = LocalFolder(tmp_path)
    staged: list[StagedRun] = []
    expected = []
    file = StagingFile(folder, "history-0", lambda run, _: staged.append(run))
    for number, (count, keys) in enumerate([(10, 1), (3, 400), (2_000, 1), (4, 3_000), (1, 1)]):
        batch = rows(count).select(["_step", "float", "seldom"])
        if isinstance(schema, LongSchema):
            for key in range(keys):
                batch = batch.append_column(f"a long key {key}", batch.column("float"))
            batch = batch.drop_columns(["seldom"])
        fitted = schema.fit(f"run {number}", batch)
        expected.append(fitted.to_pylist())
        file.write(fitted)
        file.finish_run(StoredRun(RunSnapshot(f"run {number}", "", None, 0), fitted.num_rows))
    file.close()
    found = [
        [row for batch in staged_batches(folder, run) for row in schema.recast(batch).to_pylist()]
        for run in staged
    ]
    assert found == expected


def test_into_an_object_store_staged_runs_are_uploaded_together_and_soon() -> None:
    memory, now = fsspec.filesystem("memory"), 0.0
    recorded: list[tuple[str, bool]] = []

    def record(run: StagedRun, durable: bool) -> None:
        nonlocal now
        recorded.append((run.stored.snapshot.run, durable))
        now += 2.0 * durable  # the upload takes so long

    folder = folder_at("/staged-runs", memory)
    pace = CommitPace(1.0, 0.05, 20.0, lambda: now)
    fitted = RowSchema(KINDS).fit("run", rows(2))
    with folder.lock(), closing(StagingFile(folder, "history-0", record, pace)) as file:
        for name in "abcdefg":
            now += 4.0 if name == "g" else 0.4
            file.write(fitted)
            file.finish_run(StoredRun(RunSnapshot(name, "", None, 0), fitted.num_rows))
    assert [name for name, durable in recorded] == list("abcdefg")
    assert [name for name, durable in recorded if durable] == ["c", "g"]
    memory.rm("/staged-runs", recursive=True)
