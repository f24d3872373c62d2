"""Delta Lake: the table has what was logged, version by version, also in an object store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from aiowandb import ExportError, UsageError, verify
from aiowandb.api.runs import Runs
from aiowandb.export.delta import Delta
from tests.export.bucket import Bucket
from tests.export.conftest import Project, history, steps

pytestmark = pytest.mark.anyio


def rows(table: DeltaTable) -> list[dict[str, Any]]:
    ordered = table.to_pyarrow_table().sort_by([("run_id", "ascending"), ("_step", "ascending")])
    found: list[dict[str, Any]] = ordered.to_pylist()
    return found


async def test_a_table_is_read_by_deltalake_and_polars(
    project: Project, runs: Runs, out: Path, tmp_path: Path
) -> None:
    project.log("a", steps(0, 10, note="x"))
    result = await runs.export(out, format="delta")
    assert result.rows == 10
    await runs.export(tmp_path / "parquet")
    assert rows(DeltaTable(out / "history")) == history(tmp_path / "parquet").to_pylist()
    assert pl.read_delta(str(out / "history"))["note"].to_list() == ["x"] * 10
    assert pa.table(DeltaTable(out / "runs").to_pyarrow_table())["run_id"].to_pylist() == ["a"]


async def test_each_part_is_one_transaction(
    small_parts: None, project: Project, runs: Runs, out: Path
) -> None:
    for name in "abc":
        project.log(name, steps(0, 120))
    await runs.export(out, format="delta")
    table = DeltaTable(out / "history")
    assert (table.version(), len(table.file_uris())) == (2, 3)
    await runs.export(out, format="delta")
    table.update_incremental()
    assert table.version() == 2


async def test_tables_of_runs_and_sweeps_get_no_version_without_a_change(
    project: Project, runs: Runs, out: Path
) -> None:
    def versions() -> list[int]:
        return [DeltaTable(out / name).version() for name in ("runs", "sweeps")]

    project.log("a", steps(0, 10))
    for _ in range(2):
        await runs.export(out, what=["runs", "sweeps"], format="delta")
        assert versions() == [0, 0]
    project.log("b", steps(0, 10))
    await runs.export(out, what=["runs", "sweeps"], format="delta")
    assert versions() == [1, 0]
    (file,) = (Path(uri) for uri in DeltaTable(out / "runs").file_uris())
    file.unlink()
    await runs.export(out, what=["runs", "sweeps"], format="delta")
    assert DeltaTable(out / "runs").to_pyarrow_table().num_rows == 2


async def test_replaced_versions_can_still_be_read(project: Project, runs: Runs, out: Path) -> None:
    project.log("a", steps(0, 10), finish=False)
    await runs.export(out, format="delta")
    project.log("a", steps(10, 20))
    project.log("b", steps(0, 5))
    await runs.export(out, format="delta")
    table = DeltaTable(out / "history")
    assert (table.version(), len(rows(table))) == (1, 25)
    assert len(rows(DeltaTable(out / "history", version=0))) == 10


async def test_new_columns_and_wider_kinds_come_into_the_table(
    small_parts: None, project: Project, runs: Runs, out: Path
) -> None:
    for name in "ab":
        project.log(name, steps(0, 120))
    await runs.export(out, format="delta")
    project.log("c", [{"_step": 0, "loss": "high", "note": "x"}])
    await runs.export(out, format="delta")
    table = DeltaTable(out / "history")
    assert table.version() == 2  # one transaction, whatever had to be written again
    assert [row["loss"] for row in rows(table)][-2:] == ["0.008333333333333333", '"high"']
    assert len(rows(table)) == 241


async def test_a_transaction_that_was_not_made_is_made_by_the_next_export(
    project: Project, runs: Runs, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.log("a", steps(0, 10))
    with monkeypatch.context() as patch:
        patch.setattr(Delta, "publish_as", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            await runs.export(out, format="delta")
    assert (await runs.export(out, format="delta")).downloads == 0
    assert len(rows(DeltaTable(out / "history"))) == 10


async def test_a_table_that_is_started_over_has_the_new_rows_in_new_files(
    project: Project, runs: Runs, out: Path
) -> None:
    project.log("a", steps(0, 150))
    await runs.export(out, format="delta")
    before = set(DeltaTable(out / "history").file_uris())
    project.delete("a")
    project.log("b", steps(0, 140))
    for _ in range(2):
        await runs.export(out, format="delta", overwrite=True)
        assert len(rows(DeltaTable(out / "history"))) == 140
        await runs.export(out, format="delta")
        table = DeltaTable(out / "history")
        assert len(rows(table)) == 140
        assert before.isdisjoint(table.file_uris())
        before |= set(table.file_uris())


async def test_a_table_whose_files_are_not_those_it_takes_them_for_is_healed(
    project: Project, runs: Runs, out: Path
) -> None:
    """As earlier versions left a table that was started over: old names for new files."""
    project.log("a", steps(0, 150))
    await runs.export(out, format="delta")
    log = out / "history" / "_delta_log"
    kept = {path.name: path.read_bytes() for path in log.iterdir()}
    project.log("b", steps(0, 140))
    await runs.export(out, format="delta", overwrite=True)
    (made,) = (out / "history").glob("*.parquet")
    made.rename(out / "history" / "part-00000.parquet")
    journal = out / ".aiowandb-export" / "journal.jsonl"
    journal.write_text(journal.read_text().replace(made.name, "part-00000.parquet"))
    for path in log.iterdir():
        path.unlink()
    for name, content in kept.items():
        (log / name).write_bytes(content)
    await runs.export(out, format="delta")
    assert len(rows(DeltaTable(out / "history"))) == 290


@pytest.mark.slow
async def test_a_table_can_be_in_s3(project: Project, runs: Runs, bucket: Bucket) -> None:
    project.log("a", steps(0, 10), finish=False)
    await runs.export(bucket.url, format="delta")
    project.log("a", steps(10, 15))
    await runs.export(bucket.url, format="delta")
    files = bucket.contents()
    assert {name for name in files if name.startswith("history/_delta_log")} == {
        "history/_delta_log/00000000000000000000.json",
        "history/_delta_log/00000000000000000001.json",
    }


@pytest.mark.parametrize("name", ["history", "runs"])
async def test_a_table_with_a_damaged_log_is_repaired(
    project: Project, runs: Runs, out: Path, name: str
) -> None:
    project.log("a", steps(0, 10))
    await runs.export(out, format="delta")
    project.log("b", steps(0, 5))
    await runs.export(out, format="delta")
    before = rows(DeltaTable(out / "history"))
    log = out / name / "_delta_log/00000000000000000000.json"
    log.write_bytes(log.read_bytes()[:-20])
    found = await runs.export(out, format="delta", repair=True)
    assert (found.rows, found.failed) == (15, ())
    assert rows(DeltaTable(out / "history")) == before
    assert DeltaTable(out / "runs").to_pyarrow_table().num_rows == 2
    assert (await verify(out)).problems == []


async def test_names_that_delta_takes_for_one_are_named(
    project: Project, runs: Runs, out: Path
) -> None:
    project.log("a", [{"_step": 0, "Loss": 1, "loss": 2}])
    with pytest.raises(ExportError, match="cannot have both Loss and loss: .* Exclude one"):
        await runs.export(out, format="delta")
    await runs.export(out, format="delta", exclude=["Loss"], overwrite=True)
    assert rows(DeltaTable(out / "history")) == [{"run_id": "a", "_step": 0, "loss": 2.0}]


async def test_a_table_cannot_be_streamed_or_split_by_run(runs: Runs, out: Path) -> None:
    with pytest.raises(UsageError, match="a Delta table is a folder|cannot be written to a stream"):
        await runs.export("-", format="delta")
    with pytest.raises(UsageError, match="leave split out"):
        await runs.export(out, format="delta", split="run")
