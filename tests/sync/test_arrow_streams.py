"""The rows of many runs as one stream, which engines read directly."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Iterator
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pytest

from aiowandb import Api
from aiowandb_server import Store
from tests.readplan.world import PATH, World, exported


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with Store.open(tmp_path_factory.mktemp("wandb")) as store:
        World(store).add_odd_runs()
        with Api.local(store.folder) as api:
            yield api


def test_duckdb_polars_and_pyarrow_read_the_histories_of_many_runs(api: Api) -> None:
    histories = api.scan_histories(api.runs(PATH), ["epoch"])
    found = duckdb.execute(
        "SELECT run_id, max(epoch) AS epoch FROM histories WHERE run_id = 'plain' GROUP BY 1"
    ).fetchall()
    assert found == [("plain", "9")]  # as text, since another run logged lists
    frame = pl.DataFrame(histories)
    assert frame.columns == ["run_id", "_step", "epoch"]
    assert frame.height == pa.table(histories).num_rows == 50 + 5 + 3


def test_the_rows_are_those_of_an_export(api: Api, tmp_path: Path) -> None:
    found = pa.table(api.scan_histories(api.runs(PATH), ordered=True))
    expected = exported(api, tmp_path / "out")
    assert set(found.schema.names) == set(expected.schema.names)
    assert found.num_rows == expected.num_rows
    names = ["run_id", "_step", "loss", "image", "val.acc", "run_id_logged"]
    assert rows(found.select(names)) == rows(expected.select(names))


def rows(table: pa.Table) -> list[str]:
    return sorted(map(repr, table.to_pylist()))


def test_they_are_still_batches_and_can_be_left_early(api: Api) -> None:
    batches = api.scan_histories(api.runs(PATH))
    run, batch = next(batches)
    assert batch.num_rows
    assert run.project == "demo"
    batches.close()
    assert list(batches) == []


def test_the_temporary_file_is_deleted(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    batches = api.scan_histories(api.runs(PATH))
    reader = pa.RecordBatchReader.from_stream(batches)
    assert len(list(tmp_path.iterdir())) == 1
    del batches
    assert reader.read_all().num_rows > 100  # the stream keeps what it reads
    del reader
    gc.collect()
    assert list(tmp_path.iterdir()) == []
