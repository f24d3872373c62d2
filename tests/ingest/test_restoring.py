"""Runs from exports and tables: everything in the files is in W&B afterwards."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aiowandb import (
    AsyncApi,
    ConflictError,
    ExportError,
    RowError,
    TableSource,
    TooLargeError,
    UsageError,
)
from aiowandb.ingest.mark import read_mark
from aiowandb.net import MemoryBudget
from aiowandb_server import RunChanges, Store
from aiowandb_server.store.sweeps import SweepChanges
from tests.ingest.conftest import FILES, ODD_ROWS, SOURCE, dump, make_run
from tests.support.artifacts import log_artifact

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize("anyio_backend", ["asyncio"]),
    # One of the odd rows has an integer that the floats of an export cannot have.
    pytest.mark.filterwarnings("ignore:.*were rounded to floats"),
]
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
        for part, value in original.items():
            # Exports have NaN within lists as text, and no console.
            if part != "console" and (name, part) != ("odd", "rows"):
                assert restored[name][part] == value, (name, part)
    # Nothing is sent twice, wherever the export lies by now.
    (tmp_path / "out").rename(tmp_path / "moved")
    again = await target.restore(tmp_path / "moved", TARGET)
    assert again.counts == {"unchanged": 4}
    assert again.carried == {}


async def test_the_times_of_console_lines_and_sweeps_are_restored_if_they_were_exported(
    target: AsyncApi, tmp_path: Path
) -> None:
    with Store.open(tmp_path / "source") as store:
        make_run(store, "swept", rows=["{}"])
        project = store.projects.get("local", "varied")
        assert project
        config = "{method: grid, metric: {name: loss}, parameters: {lr: {values: [1, 2]}}}"
        sweep = store.sweeps.create(project, SweepChanges(config=config)).name
        store.runs.upsert(project, "swept", RunChanges(sweep=sweep))
    async with AsyncApi.local(tmp_path / "source") as api:
        what = ["runs", "history", "system", "logs", "sweeps"]
        await api.runs(SOURCE).export(tmp_path / "out", what=what)  # type: ignore[arg-type]
        original = await dump(api, SOURCE)
    report = await target.restore(tmp_path / "out", TARGET, verify=True)
    assert (report.failed, report.differences) == ([], [])
    restored = await dump(target, TARGET)
    assert restored["swept"]["console"] == original["swept"]["console"] != []
    run = await target.run(f"{TARGET}/swept")
    copied = await run.sweep()
    assert copied
    assert (copied.method, copied.config["parameters"]) == ("grid", {"lr": {"values": [1, 2]}})
    again = await target.restore(tmp_path / "out", TARGET)
    assert (again.counts, again.carried) == ({"unchanged": 1}, {})


@pytest.mark.parametrize("xxh128", [True, pytest.param(False, marks=pytest.mark.slow)])
async def test_artifacts_and_the_console_are_restored_if_they_were_exported(
    target: AsyncApi, tmp_path: Path, xxh128: bool
) -> None:
    with Store.open(tmp_path / "source") as store:
        make_run(store, "maker", rows=[], files={"output.log": b"one\n2026-01-02T03:04:05 two\n"})
        project = store.projects.get("local", "varied")
        run = project and store.runs.get(project, "maker")
        assert run
        for number in range(3):
            files = {"deep/w.bin": b"%d" % number, "same": b"same"}
            log_artifact(
                store, run, "model", files, kind="model", metadata='{"number": 1}', xxh128=xxh128
            )
        async with AsyncApi.local(tmp_path / "source") as api:
            what = ["runs", "files", "artifacts"]
            await api.runs(SOURCE).export(tmp_path / "out", what=what)  # type: ignore[arg-type]
            report = await target.restore(tmp_path / "out", TARGET, verify=True)
            assert (report.failed, report.differences) == ([], [])
            assert report.carried["artifacts"] == 3
            for number in range(3):
                here = await api.artifact(f"{SOURCE}/model:v{number}")
                there = await target.artifact(f"{TARGET}/model:v{number}")
                for fact in ("type", "aliases", "metadata", "digest", "size", "description"):
                    assert getattr(here, fact) == getattr(there, fact), fact
                made = await there.download(tmp_path / f"down{number}")
                assert (made.folder / "deep/w.bin").read_bytes() == b"%d" % number
    restored = await target.run(f"{TARGET}/maker")
    lines = [line async for line in restored.console_logs()]
    assert [(line.content, line.timestamp is None) for line in lines] == [
        ("one", True),
        ("two", False),
    ]
    again = await target.restore(tmp_path / "out", TARGET)
    assert again.counts == {"unchanged": 1}


async def test_what_runs_have_used_is_restored_and_otherwise_said(
    target: AsyncApi, tmp_path: Path
) -> None:
    with Store.open(tmp_path / "source") as store:
        for name in ("maker", "user", "stranger"):
            make_run(store, name, rows=[])
        project = store.projects.get("local", "varied")
        assert project
        maker, user, stranger = (
            store.runs.get(project, name) for name in ("maker", "user", "stranger")
        )
        assert maker
        assert user
        assert stranger
        for run, artifact in ((maker, "set"), (stranger, "far")):
            log_artifact(store, run, artifact, {"f": artifact.encode()})
            (made,) = store.artifacts.of_run(run.id, "output", first=9).items
            store.artifacts.use(user, made)
        async with AsyncApi.local(tmp_path / "source") as api:
            filters = {"name": {"$in": ["maker", "user"]}}
            for _ in range(2):  # brought up to date, it is still there
                await api.runs(SOURCE, filters).export(tmp_path / "out", what=["runs", "artifacts"])
    report = await target.restore(tmp_path / "out", TARGET, verify=True)
    assert report.failed == []
    assert {run.run: run.dropped for run in report.runs} == {
        "maker": [],
        "user": ["that it used far:v0, which is not part of the copy"],
    }
    assert [each.where for each in report.differences or ()] == ["artifact used far:v0"]
    restored = await target.run(f"{TARGET}/user")
    assert [each.name async for each in restored.used_artifacts()] == ["set:v0"]
    again = await target.restore(tmp_path / "out", TARGET)
    assert again.counts == {"unchanged": 2}


async def test_a_version_that_two_runs_have_logged_is_restored_for_both(
    target: AsyncApi, tmp_path: Path
) -> None:
    with Store.open(tmp_path / "source") as store:
        for name in ("first", "second"):
            make_run(store, name, rows=[])
            project = store.projects.get("local", "varied")
            run = project and store.runs.get(project, name)
            assert run
            log_artifact(store, run, "set", {"f": b"same"})
        async with AsyncApi.local(tmp_path / "source") as api:
            await api.runs(SOURCE).export(tmp_path / "out", what=["runs", "artifacts"])
    report = await target.restore(tmp_path / "out", TARGET, verify=True)
    assert (report.failed, report.differences) == ([], [])
    for name in ("first", "second"):
        restored = await target.run(f"{TARGET}/{name}")
        assert [each.name async for each in restored.logged_artifacts()] == ["set:v0"]


async def test_a_column_that_is_text_in_another_run_is_no_difference(
    target: AsyncApi, tmp_path: Path
) -> None:
    with Store.open(tmp_path / "source") as store:
        make_run(store, "numbers", rows=['{"x":1}', '{"x":2.5}'])
        make_run(store, "flags", rows=['{"x":true}', '{"x":"text"}'])
    async with AsyncApi.local(tmp_path / "source") as api:
        await api.runs(SOURCE).export(tmp_path / "out", what=["runs", "history", "system"])
    report = await target.restore(tmp_path / "out", TARGET, verify=True)
    assert (report.failed, report.differences) == ([], [])


async def test_a_deleted_artifact_file_is_an_error_of_its_run(
    source: AsyncApi, target: AsyncApi, tmp_path: Path
) -> None:
    with Store.open(tmp_path / "source") as store:
        make_run(store, "maker", rows=[])
        project = store.projects.get("local", "varied")
        run = project and store.runs.get(project, "maker")
        assert run
        for name in ("gone", "bad", "good"):
            log_artifact(store, run, name, {"f": name.encode()})
        async with AsyncApi.local(tmp_path / "source") as api:
            await api.runs(SOURCE).export(tmp_path / "out", what=["runs", "artifacts"])
    (tmp_path / "out/artifacts/gone-v0/f").unlink()
    (tmp_path / "out/artifacts/bad-v0/f").write_bytes(b"bat")
    report = await target.restore(tmp_path / "out", TARGET)
    errors = {each.run: each.error or "" for each in report.failed}
    assert set(errors) == {"gone:v0", "bad:v0", "maker"}
    assert "No such file" in errors["gone:v0"]
    assert "differs from what was exported" in errors["bad:v0"]
    mark = read_mark((await target.run(f"{TARGET}/maker")).json_config)
    assert mark
    assert not mark.complete


async def test_exports_without_original_records_are_restored_from_their_tables(
    source: AsyncApi, target: AsyncApi, tmp_path: Path
) -> None:
    await source.runs(SOURCE).export(tmp_path / "out")
    shutil.rmtree(tmp_path / "out" / ".aiowandb-export")
    report = await target.restore(tmp_path / "out", TARGET)
    assert report.failed == []
    odd, plain = await target.run(f"{TARGET}/odd"), await target.run(f"{TARGET}/plain")
    assert (odd.config["lr"], odd.name, odd.tags) == (0.1, "Odd & even", ["b", "a"])
    assert odd.summary["best"]["acc"] != odd.summary["best"]["acc"]
    assert plain.state == "failed"
    assert plain.history_line_count == 1500


async def test_runs_that_a_restoration_did_not_make_are_refused(
    source: AsyncApi, target: AsyncApi, tmp_path: Path
) -> None:
    await source.runs(SOURCE, {"name": "odd"}).export(tmp_path / "out")
    own = await target.create_run("odd", "restored", config={"mine": 1})
    with pytest.raises(ConflictError, match="local/restored/odd exist"):
        await target.restore(tmp_path / "out", TARGET)
    report = await target.restore(tmp_path / "out", TARGET, on_existing="skip")
    assert report.counts == {"skipped": 1}
    assert (await target.run(f"{TARGET}/odd", fresh=True)).config == {"mine": 1}
    report = await target.restore(tmp_path / "out", TARGET, on_existing="update")
    assert report.counts == {"updated": 1}
    assert (await target.run(f"{TARGET}/{own.id}", fresh=True)).config["lr"] == 0.1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"min_step": 1}, ["history: what the options of the export did not select"]),
        ({"samples": 1}, ["history: rows that are not in the sample of the export"]),
        ({"what": ["runs"]}, []),
    ],
)
async def test_what_an_export_lacks_of_a_run_is_named(
    source: AsyncApi, target: AsyncApi, tmp_path: Path, options: Any, said: list[str]
) -> None:
    await source.runs(SOURCE).export(tmp_path / "out", **options)
    report = await target.restore(tmp_path / "out", TARGET)
    assert next(run for run in report.runs if run.run == "odd").dropped == said


async def test_a_long_table_is_refused(source: AsyncApi, target: AsyncApi, tmp_path: Path) -> None:
    await source.runs(SOURCE).export(tmp_path / "out", layout="long")
    with pytest.raises(ExportError, match="layout='long'"):
        await target.restore(tmp_path / "out", TARGET)


async def test_a_folder_that_is_not_an_export_is_refused(target: AsyncApi, tmp_path: Path) -> None:
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


@pytest.mark.parametrize(
    "suffix", [".csv", *(pytest.param(s, marks=pytest.mark.slow) for s in (".jsonl", ".parquet"))]
)
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


async def test_a_text_that_a_table_repeats_is_read_in_small_batches(tmp_path: Path) -> None:
    text = pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0), 2_000), ["x" * 100_000])
    pq.write_table(pa.table({"run": ["r"] * 2_000, "text": text}), tmp_path / "t.parquet")
    source = TableSource(tmp_path)
    source.memory = MemoryBudget(128 << 20)  # a batch has a part of that
    batches = [batch async for run in source.runs() async for batch in run.rows()]
    await source.aclose()
    assert sum(batch.num_rows for batch in batches) == 2_000
    assert max(batch.nbytes for batch in batches) < 5 << 20


async def test_a_table_that_memory_has_no_room_for_is_named(
    target: AsyncApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(target._session, "memory", MemoryBudget(1 << 20))
    pq.write_table(pa.table({f"k{n}": [n] for n in range(100)}), tmp_path / "t.parquet")
    with pytest.raises(TooLargeError, match=r"t\.parquet: Reading 100 columns .* max_memory"):
        await target.import_runs(TableSource(tmp_path), TARGET)


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


async def test_a_line_that_is_not_an_object_is_reported(target: AsyncApi, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"loss": 1}\n[1, 2]\n')
    with pytest.raises(RowError, match=r"rows\.jsonl, line 2: not a JSON object"):
        await target.import_runs(path, TARGET)


async def test_steps_that_go_back_are_an_error_of_that_run(
    target: AsyncApi, tmp_path: Path
) -> None:
    steps = [("a", 1), ("a", 0), ("b", 0)]
    path = write(tmp_path / "rows.jsonl", [{"run": run, "step": step} for run, step in steps])
    report = await target.import_runs(path, TARGET)
    assert [run.run for run in report.failed] == ["a"]
    assert "step 0 follows step 1" in (report.failed[0].error or "")


async def test_a_folder_that_is_not_there_is_no_export(target: AsyncApi, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="nothing is not a folder"):
        await target.restore(tmp_path / "nothing", TARGET)


async def test_an_unknown_column_is_refused(target: AsyncApi, tmp_path: Path) -> None:
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
