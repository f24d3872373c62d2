"""A project exported to files, read back and compared with its rows."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import anyio
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aiowandb import Api, AsyncApi, ExportError, UsageError
from aiowandb.wire.dotted import flattened
from tests.support.sample import ROWS, RUNS, Sample
from tests.support.shell import aiowandb, complaints

pytestmark = pytest.mark.anyio


async def test_parquet_has_every_row_of_every_run(
    api: AsyncApi, sample: Sample, tmp_path: Path
) -> None:
    result = await api.runs(sample.path).export(tmp_path)
    assert (result.runs, result.rows) == (RUNS, RUNS * ROWS)
    table = pq.read_table(tmp_path / "history")
    assert table.num_rows == RUNS * ROWS
    for run in [run async for run in api.runs(sample.path)]:
        rows = [row async for row in run.scan_history()]
        exported = table.filter(
            pa.compute.equal(table["run_id"].cast(pa.string()), pa.scalar(run.id))
        )
        assert exported["_step"].to_pylist() == [row["_step"] for row in rows]
        for index, row in enumerate(rows):
            for key, value in flattened(row).items():
                assert same(value, exported[key][index].as_py()), (run.id, key, row["_step"])


def same(logged: Any, stored: Any) -> bool:
    """Whether a stored cell is what was logged, as a value or as JSON text."""
    if logged == stored or (logged != logged and stored != stored):
        return True
    return isinstance(stored, str) and json.loads(stored) == logged


async def test_runs_are_in_the_requested_order_and_steps_increase(
    api: AsyncApi, sample: Sample, tmp_path: Path
) -> None:
    await api.runs(sample.path, order="+created_at").export(tmp_path)
    table = pq.read_table(tmp_path / "history", columns=["run_id", "_step"])
    places = list(zip(table["run_id"].to_pylist(), table["_step"].to_pylist(), strict=True))
    order = [run.id async for run in api.runs(sample.path, order="+created_at")]
    assert list(dict.fromkeys(run for run, _ in places)) == order
    assert places == sorted(places, key=lambda place: (order.index(str(place[0])), place[1]))


async def test_the_runs_themselves_are_a_table(
    api: AsyncApi, sample: Sample, tmp_path: Path
) -> None:
    await api.runs(sample.path).export(tmp_path)
    table = pq.read_table(tmp_path / "runs.parquet")
    runs = {run.id: run async for run in api.runs(sample.path)}
    assert table["run_id"].to_pylist() == list(runs)
    for row in table.to_pylist():
        run = runs[row["run_id"]]
        assert (row["name"], row["state"], row["tags"]) == (run.name, run.state, run.tags)
        assert row["created_at"] == run.created_at
        for key, value in flattened(run.config, "config.").items():
            assert same(value, row[key]), key


async def test_csv_has_the_same_values_as_parquet(
    api: AsyncApi, sample: Sample, tmp_path: Path
) -> None:
    await api.runs(sample.path).export(tmp_path / "parquet")
    result = await api.runs(sample.path).export(tmp_path, format="csv")
    table = pq.read_table(tmp_path / "parquet" / "history")
    with (tmp_path / "history.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == table.schema.names
    assert len(rows) - 1 == table.num_rows == result.rows
    assert [int(row[1]) for row in rows[1:]] == table["_step"].to_pylist()
    assert [row[0] for row in rows[1:]] == table["run_id"].to_pylist()
    with (tmp_path / "runs.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == RUNS


async def test_a_complete_project_takes_few_requests(
    api: AsyncApi, sample: Sample, tmp_path: Path
) -> None:
    result = await api.runs(sample.path).export(tmp_path)
    live = [run async for run in api.runs(sample.path, filters={"state": "running"})]
    # one page of runs, one plan for all of them, one page for each live run
    assert result.requests == 2 + len(live)
    assert result.downloads == RUNS - len(live)


async def test_an_empty_selection_gives_empty_files(
    api: AsyncApi, sample: Sample, tmp_path: Path
) -> None:
    result = await api.runs(sample.path, filters={"state": "pending"}).export(tmp_path)
    assert (result.runs, result.rows) == (0, 0)
    assert pq.read_table(tmp_path / "history").num_rows == 0


async def test_a_folder_that_cannot_be_one_is_named(
    api: AsyncApi, sample: Sample, tmp_path: Path
) -> None:
    taken = tmp_path / "file"
    taken.touch()
    with pytest.raises(ExportError, match="Cannot write .*file: Not a directory"):
        await api.runs(sample.path).export(taken)
    assert api.traffic.requests == 0


async def test_an_unknown_format_is_refused(api: AsyncApi, sample: Sample, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="format must be one of parquet, csv, .*not 'xml'"):
        await api.runs(sample.path).export(tmp_path, format="xml")  # type: ignore[arg-type]


async def test_an_interrupted_export_leaves_the_old_files_and_nothing_else(
    api: AsyncApi, sample: Sample, tmp_path: Path
) -> None:
    await api.runs(sample.path).export(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with anyio.CancelScope() as scope:
        scope.cancel()
        await api.runs(sample.path).export(tmp_path)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize(
    ("nan", "spelled"), [((), "null"), (("--nan", "text"), '"NaN"'), (("--nan", "token"), "NaN")]
)
def test_the_command_writes_nan_as_it_is_asked_to(
    tmp_path: Path, nan: tuple[str, ...], spelled: str
) -> None:
    log = aiowandb("append", "local/p/r", "--local", made_run(tmp_path), stdin='{"loss": NaN}\n')
    assert log.returncode == 0, log.stderr
    table = ("--local", tmp_path, "--format", "jsonl", "--key", "loss", "--quiet")
    done = aiowandb("export", "local/p", "-", *table, *nan)
    assert (done.returncode, complaints(done.stderr)) == (0, "")
    assert done.stdout == f'{{"run_id":"r","_step":0,"loss":{spelled}}}\n'


def made_run(folder: Path) -> Path:
    with Api.local(folder, project="p") as api:
        api.create_run("r")
    return folder
