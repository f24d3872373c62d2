"""W&B's tables, logged by runs or in artifacts, as tables of the export."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from aiowandb import Format
from aiowandb.api.runs import Runs
from aiowandb.export.tables.table_files import TableRows, read_table
from tests.export.conftest import Project, steps
from tests.support.artifacts import log_artifact

pytestmark = pytest.mark.anyio


def table(columns: list[str], *data: list[Any]) -> bytes:
    return json.dumps({"_type": "table", "columns": columns, "data": data}).encode()


def log_table(project: Project, run: str, step: int, key: str, content: bytes) -> None:
    """Log a table as W&B's client does: a file of the run, and a value that says where it is."""
    digest = hashlib.sha256(content).hexdigest()
    path = f"media/table/{key}_{step}_{digest[:20]}.table.json"
    value = {"_type": "table-file", "path": path, "sha256": digest, "size": len(content)}
    value["nrows"] = len(json.loads(content)["data"])
    project.log(run, [{"_step": step, key: value}])
    project.store.files.add(project.run(run), path, content)


@pytest.fixture
def with_tables(project: Project) -> Project:
    log_table(project, "a", 0, "pred", table(["x", "label"], [1, "cat"], [0.5, None]))
    log_table(project, "a", 1, "pred", table(["x", "label", "_step"], [2, "dog", 7]))
    log_table(project, "b", 0, "pred", table(["x"], ["text"]))
    log_table(project, "b", 1, "a/b", table(["run_id", "run_id"], [1, 2]))
    project.log("c", steps(0, 2))
    return project


def rows(folder: Path, name: str) -> list[dict[str, Any]]:
    found = pq.read_table(folder / "tables" / name).to_pylist()
    return [{key: value for key, value in row.items() if value is not None} for row in found]


async def test_all_tables_of_a_key_are_one_table(
    with_tables: Project, runs: Runs, out: Path
) -> None:
    result = await runs.export(out, what=["tables"])
    assert not result.failed
    assert sorted(path.name for path in out.iterdir() if path.name[0] != ".") == ["media", "tables"]
    assert rows(out, "pred") == [
        {"run_id": "a", "_step": 0, "x": "1.0", "label": "cat"},
        {"run_id": "a", "_step": 0, "x": "0.5"},
        {"run_id": "a", "_step": 1, "x": "2.0", "label": "dog", "_step_logged": 7},
        {"run_id": "b", "_step": 0, "x": '"text"'},
    ]
    assert rows(out, "a~2Fb") == [{"run_id": "b", "_step": 1, "run_id_logged": 1, "run_id_2": 2}]
    assert "x" in {clash.column for clash in result.clashes}


@pytest.mark.slow
async def test_tables_of_many_runs_take_few_requests(
    project: Project, runs: Runs, out: Path
) -> None:
    for number in range(60):
        log_table(project, f"run{number}", 0, "t", table(["x"], [number]))
    first = await runs.export(out, what=["tables"])
    assert (first.rows, first.failed) == (120, ())  # and as many in the index of media
    assert first.requests <= 12
    again = await runs.export(out, what=["tables"])
    assert (again.requests, again.downloads) == (1, 0)
    log_table(project, "run0", 1, "t", table(["x"], [100]))
    third = await runs.export(out, what=["tables"])
    assert third.downloads <= 3  # of one run, whose tables are read again
    assert [row["x"] for row in rows(out, "t") if row["run_id"] == "run0"] == [0, 100]


@pytest.mark.slow
async def test_tables_are_in_any_format(
    with_tables: Project, runs: Runs, out: Path, subtests: pytest.Subtests
) -> None:
    formats: tuple[Format, ...] = ("csv", "jsonl", "arrow", "delta")
    for form in formats:
        with subtests.test(form):
            assert not (await runs.export(out / form, what=["tables"], format=form)).failed
            assert not (await runs.export(out / form, what=["tables"], format=form)).failed
    lines = (out / "jsonl/tables/pred.jsonl").read_text().splitlines()
    assert [json.loads(line)["x"] for line in lines] == [1, 0.5, 2, "text"]
    await runs.export(out / "csv", what=["runs"], overwrite=True)
    assert (
        not list((out / "csv").rglob("*.csv"))
        or [path.name for path in (out / "csv").rglob("*.csv")] == []
    )


async def test_a_split_export_has_a_file_for_each_run(
    with_tables: Project, runs: Runs, out: Path
) -> None:
    await runs.export(out, what=["tables"], split="run")
    assert sorted(path.name for path in (out / "tables/pred").iterdir()) == [
        "a.parquet",
        "b.parquet",
    ]


async def test_tables_in_artifacts_are_found(project: Project, runs: Runs, out: Path) -> None:
    project.log("a", steps(0, 1))
    left, right = table(["id", "l"], [1, "L1"], [2, "L2"]), table(["id", "r"], [2, "R2"], [3, "R3"])
    files = {
        "parts/1.table.json": table(["x"], [1]),
        "parts/2.table.json": table(["x"], [2]),
        "all.partitioned-table.json": b'{"_type": "partitioned-table", "parts_path": "parts"}',
        "l.table.json": left,
        "r.table.json": right,
        "j.joined-table.json": json.dumps(
            {"join_key": "id", "table1": "l.table.json", "table2": "r.table.json"}
        ).encode(),
        "weights.bin": b"w",
    }
    log_artifact(project.store, project.run("a"), "data", files, kind="dataset")
    log_artifact(
        project.store, project.run("a"), "run-a-t", {"t.table.json": left}, kind="run_table"
    )
    result = await runs.export(out, what=["tables"])
    assert not result.failed
    found = {path.name for path in (out / "tables").iterdir()}
    assert found == {"data~2Fall", "data~2Fl", "data~2Fr", "data~2Fj"}
    of_a = {"run_id": "a", "artifact": "data:v0"}
    assert rows(out, "data~2Fall") == [of_a | {"x": 1}, of_a | {"x": 2}]
    assert rows(out, "data~2Fj") == [
        of_a | {"id": 1, "l": "L1"},
        of_a | {"id": 2, "l": "L2", "r": "R2"},
        of_a | {"id": 3, "r": "R3"},
    ]


async def test_tables_in_artifacts_that_are_logged_after_the_end_of_a_run_come_later(
    project: Project, runs: Runs, out: Path
) -> None:
    project.log("a", steps(0, 1))
    project.log("b", steps(0, 1))
    for number in range(2):
        run = project.run("a")
        files = {"t.table.json": table(["x"], [number])}
        log_artifact(project.store, run, f"data{number}", files, kind="dataset")
        await runs.export(out, what=["tables"])
        assert rows(out, f"data{number}~2Ft") == [
            {"run_id": "a", "artifact": f"data{number}:v0", "x": number}
        ]
        assert project.run("a").heartbeat_at == run.heartbeat_at
    again = await runs.export(out, what=["tables"])
    assert (again.requests, again.downloads) == (1, 0)


async def test_a_table_that_is_cut_off_is_read_from_its_artifact(
    project: Project, runs: Runs, out: Path
) -> None:
    project.log("a", steps(0, 1))
    whole = table(["x"], [1], [2], [3])
    artifact = log_artifact(
        project.store, project.run("a"), "run-a-t", {"t.table.json": whole}, kind="run_table"
    )
    cut = table(["x"], [1])
    value = {"_type": "table-file", "path": "media/t.table.json", "nrows": 3}
    value["artifact_path"] = f"wandb-artifact://{artifact}/t.table.json"
    project.log("a", [{"_step": 1, "t": value}])
    project.store.files.add(project.run("a"), "media/t.table.json", cut)
    await runs.export(out, what=["tables"])
    assert [row["x"] for row in rows(out, "t")] == [1, 2, 3]


async def test_a_run_whose_table_is_lost_or_changed_fails_and_the_others_do_not(
    with_tables: Project, runs: Runs, out: Path
) -> None:
    for file in with_tables.store.files.page(with_tables.run("b"), first=10).items:
        if "pred" in file.name:
            with_tables.store.files.add(with_tables.run("b"), file.name, table(["x"], [666]))
    result = await runs.export(out, what=["tables"])
    assert [(failure.run, str(failure.error).partition(":")[0]) for failure in result.failed] == [
        ("b", str(result.failed[0].error).partition(":")[0])
    ]
    assert "is not the table that was logged" in str(result.failed[0].error)
    assert {row["run_id"] for row in rows(out, "pred")} == {"a"}


@pytest.mark.parametrize(
    "content",
    [b"[]", b"{", b'{"columns": 5, "data": []}', b'{"columns": ["a"], "data": [[1, 2], 3]}'],
)
async def test_odd_tables_fail_alone(
    project: Project, runs: Runs, out: Path, content: bytes
) -> None:
    log_table(project, "a", 0, "t", table(["x"], [1]))
    value = {"_type": "table-file", "path": "media/odd.table.json"}
    project.log("b", [{"_step": 0, "t": value}])
    project.store.files.add(project.run("b"), "media/odd.table.json", content)
    result = await runs.export(out, what=["tables"])
    assert [failure.run for failure in result.failed] == ["b"]
    assert rows(out, "t") == [{"run_id": "a", "_step": 0, "x": 1}]


async def test_tables_of_runs_that_are_no_longer_selected_are_removed(
    with_tables: Project, runs: Runs, out: Path
) -> None:
    await runs.export(out, what=["tables"])
    with_tables.delete("b")
    await runs.export(out, what=["tables"])
    assert {row["run_id"] for row in rows(out, "pred")} == {"a", "b"}
    await runs.export(out, what=["tables"], on_deleted="drop")
    assert {row["run_id"] for row in rows(out, "pred")} == {"a"}
    assert rows(out, "a~2Fb") == []


async def test_tables_that_refer_to_each_other_are_an_error() -> None:
    async def read(_: str) -> bytes:
        return b'{"join_key": "x", "table1": "a", "table2": "b"}'

    async def files_in(_: str) -> list[str]:
        return []

    with pytest.raises(Exception, match="refer to each other"):
        await read_table(await read("a"), "a", read, files_in)


def test_names_of_classes_in_place_of_media_are_noticed() -> None:
    assert TableRows(["x", "img"], [[1, "Image"], [2, None]]).stand_ins == [1]
    assert not TableRows(["x", "img"], [["Image", 1], ["cat", 2]]).stand_ins


async def test_keys_that_no_folder_can_have_are_quoted(
    project: Project, runs: Runs, out: Path
) -> None:
    for step, key in enumerate(("..", ".x", "a~b", "ü")):
        content = table(["x"], [step])
        value = {"_type": "table-file", "path": f"media/{step}.table.json"}
        project.log("a", [{"_step": step, key: value}])
        project.store.files.add(project.run("a"), f"media/{step}.table.json", content)
    await runs.export(out, what=["tables"])
    names = sorted(path.name for path in (out / "tables").iterdir())
    assert names == ["a~7Eb", "~2E.", "~2Ex", "~C3~BC"]
