"""Runs from exports and tables: what is in the files is in W&B afterwards."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aiowandb import AsyncApi, ExportError, RowError, TableSource, UsageError
from tests.ingest.conftest import FILES, ODD_ROWS, SOURCE, dump

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]
TARGET = "local/restored"


async def test_an_export_is_restored(source: AsyncApi, target: AsyncApi, tmp_path: Path) -> None:
    what = ["runs", "history", "system", "files"]
    await source.runs(SOURCE).export(tmp_path / "out", what=what)  # type: ignore[arg-type]
    report = await target.restore(tmp_path / "out", TARGET, verify=True)
    assert (report.failed, report.differences) == ([], [])
    assert report.counts == {"created": 4}
    assert report.carried["files"] == len(FILES)
    restored, originals = await dump(target, TARGET), await dump(source, SOURCE)
    for name, original in originals.items():
        # Exports have NaN within lists as text.
        for part in ("rows", "files", "system") if name != "odd" else ("files", "system"):
            assert restored[name][part] == original[part], (name, part)
    odd, plain = await target.run(f"{TARGET}/odd"), await target.run(f"{TARGET}/plain")
    assert (odd.config["lr"], odd.name, odd.tags) == (0.1, "Odd & even", ["b", "a"])
    assert odd.summary["best"]["acc"] != odd.summary["best"]["acc"]
    assert plain.state == "failed"
    # Nothing is sent twice.
    again = await target.restore(tmp_path / "out", TARGET)
    assert again.carried.get("rows", 0) == again.carried.get("files", 0) == 0


async def test_a_folder_that_is_no_export_is_refused(target: AsyncApi, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"has no runs\.parquet"):
        await target.restore(tmp_path, TARGET)


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".csv":
        names = list(rows[0])
        lines = [",".join(names), *(",".join(str(row[name]) for name in names) for row in rows)]
        path.write_text("\n".join(lines))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=7)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
async def test_a_table_of_many_runs_is_imported(
    target: AsyncApi, tmp_path: Path, suffix: str
) -> None:
    rows: list[dict[str, object]] = [
        {"run": f"r{n % 3}", "step": n, "timestamp": 1e9 + n, "loss": 1 / (n + 1), "lr": n % 3}
        for n in range(60)
    ]
    path = write(tmp_path / f"rows{suffix}", rows)
    report = await target.import_runs(TableSource(path, config=["lr"]), TARGET, verify=True)
    assert (report.failed, report.differences) == ([], [])
    assert report.counts == {"created": 3}
    run = await target.run(f"{TARGET}/r2")
    assert run.config["lr"] == 2
    found = [(row["_step"], row["_timestamp"], row["loss"]) async for row in run.scan_history()]
    assert found == [(n, 1e9 + n, 1 / (n + 1)) for n in range(60) if n % 3 == 2]
    assert (run.summary["loss"], run.state) == (1 / 60, "finished")
    again = await target.import_runs(TableSource(path, config=["lr"]), TARGET)
    assert again.carried.get("rows", 0) == 0


async def test_each_file_without_a_column_of_runs_is_a_run(
    target: AsyncApi, tmp_path: Path
) -> None:
    write(tmp_path / "first.csv", [{"loss": 1.5}, {"loss": 0.5}])
    write(tmp_path / "second.jsonl", [{"val": {"acc": 1}, "tags": ["x"]}])
    (tmp_path / "notes.txt").write_text("no table")
    report = await target.import_runs(tmp_path, TARGET)
    assert {run.run for run in report.runs} == {"first", "second"}
    first, second = await target.run(f"{TARGET}/first"), await target.run(f"{TARGET}/second")
    assert [(row["_step"], row["loss"]) async for row in first.scan_history()] == [
        (0, 1.5),
        (1, 0.5),
    ]
    assert [row["val.acc"] async for row in second.scan_history()] == [1]


async def test_a_row_that_is_no_row_is_named(target: AsyncApi, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"loss": 1}\n[1, 2]\n')
    with pytest.raises(RowError, match=r"rows\.jsonl, line 2: no JSON object"):
        await target.import_runs(path, TARGET)


async def test_steps_that_go_back_are_an_error_of_that_run(
    target: AsyncApi, tmp_path: Path
) -> None:
    steps = [("a", 1), ("a", 0), ("b", 0)]
    path = write(tmp_path / "rows.jsonl", [{"run": run, "step": step} for run, step in steps])
    report = await target.import_runs(path, TARGET)
    assert [run.run for run in report.failed] == ["a"]
    assert "step 0 comes behind step 1" in (report.failed[0].error or "")


async def test_a_column_that_is_not_there_is_refused(target: AsyncApi, tmp_path: Path) -> None:
    path = write(tmp_path / "rows.csv", [{"experiment": "a", "loss": 1}])
    with pytest.raises(UsageError, match="did you mean 'experiment'"):
        await target.import_runs(TableSource(path, run="experimant"), TARGET)
    with pytest.raises(UsageError, match="does not exist"):
        await target.import_runs(tmp_path / "nothing.csv", TARGET)


async def test_a_cut_parquet_file_is_named(target: AsyncApi, tmp_path: Path) -> None:
    path = write(tmp_path / "rows.parquet", [{"loss": 1}])
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ExportError, match=r"rows\.parquet"):
        await target.import_runs(path, TARGET)


async def test_odd_rows_survive_an_export_and_its_restoration(
    source: AsyncApi, target: AsyncApi, tmp_path: Path
) -> None:
    await source.runs(SOURCE, {"name": "odd"}).export(tmp_path / "out")
    await target.restore(tmp_path / "out", TARGET)
    run = await target.run(f"{TARGET}/odd")
    rows = [row async for row in run.scan_history()]
    assert [row["_step"] for row in rows] == [json.loads(line)["_step"] for line in ODD_ROWS]
