"""`aiowandb export` of many projects."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from aiowandb import CommError, ExportResult, ProjectExport
from aiowandb.cli import export_many
from aiowandb.export import RunFailure
from aiowandb_server import Store
from tests.api.test_project_exports import fill
from tests.support.shell import Completed, aiowandb, complaints


@pytest.fixture
def wandb(tmp_path: Path, new_folder: Callable[[Path], Path]) -> Path:
    with Store.open(new_folder(tmp_path / "wandb")) as store:
        fill(store, "a", "b", "test-c")
    return tmp_path / "wandb"


class Command:
    """`aiowandb export` from the folder of an embedded W&B."""

    def __init__(self, wandb: Path, out: Path) -> None:
        self.out = out
        self._ends = ("--local", wandb)

    def __call__(self, *arguments: object) -> Completed:
        return aiowandb("export", *arguments, *self._ends, COLUMNS="120")


@pytest.fixture
def export(wandb: Path, tmp_path: Path) -> Command:
    return Command(wandb, tmp_path / "out")


def test_each_project_has_a_folder_and_a_row_in_the_table(export: Command) -> None:
    done = export("local/*", export.out, "--exclude-project", "test-*")
    assert done.returncode == 0
    assert sorted(path.name for path in (export.out / "local").iterdir()) == ["a", "b"]
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith(" local/")]
    assert [(row[0], row[1], row[2], row[-1]) for row in sorted(rows)] == [
        ("local/a", "1", "3", "complete"),
        ("local/b", "1", "3", "complete"),
    ]
    assert complaints(done.stderr) == ""


def test_a_long_export_says_how_far_it_is(export: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_many, "SECONDS_BETWEEN_LINES", 0.0)
    said = complaints(export("local/*", export.out).stderr).splitlines()
    assert said[-1].startswith("3 projects done, 9 rows, ")


def test_a_project_that_fails_is_named_and_the_others_are_exported(export: Command) -> None:
    done = export("a", "none", export.out, "--quiet")
    assert (done.returncode, done.stdout) == (3, "")
    assert complaints(done.stderr).splitlines() == [
        "aiowandb: project local/none: Could not find project local/none."
    ]
    assert (export.out / "local" / "a" / "runs.parquet").exists()
    both = export("none", "a", export.out)
    rows = [line.split() for line in both.stdout.splitlines() if line.startswith(" local/")]
    assert rows[0] == ["local/none", "failed"]
    assert export("none", "nil", export.out).returncode == 1
    assert export("no-*", export.out).returncode == 1


def test_a_run_that_fails_in_two_tables_is_one_run() -> None:
    failed = [RunFailure("x", CommError("no")), RunFailure("x", CommError("no"))]
    for failures, said in ((failed, "1 run failed"), ([], "complete")):
        result = ExportResult(
            runs=1,
            rows=0,
            requests=2,
            downloads=0,
            received_bytes=0,
            written_bytes=0,
            seconds=1.0,
            files=(),
            failed=tuple(failures),
        )
        done = ProjectExport(project="e/p", folder="out", result=result)
        assert export_many.outcome(done) == said


def test_programs_get_a_line_of_json_for_each_event(export: Command) -> None:
    done = export("*", "none", export.out, "--json", "--include-project", "[abn]*")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    ends = {each["project"]: each for each in events if each["event"] == "project_finished"}
    assert {path: (end.get("rows"), end["error"]) for path, end in ends.items()} == {
        "local/a": (3, None),
        "local/b": (3, None),
        "local/none": (None, "Could not find project local/none."),
    }
    assert events[-1] == {"event": "finished", "projects": 3, "failed": 1}
    assert {each["project"] for each in events if each["event"] == "runs_found"} == {
        *("local/a", "local/b")
    }


def test_the_plan_of_many_projects_is_a_row_of_each(export: Command) -> None:
    done = export("local/*", export.out, "--plan")
    assert (done.returncode, complaints(done.stderr)) == (0, "")
    assert "3 projects: about 9 rows, " in done.stdout
    rows = sorted(line.split()[:2] for line in done.stdout.splitlines() if " local/" in line)
    assert rows == [["local/a", "1"], ["local/b", "1"], ["local/test-c", "1"]]
    plans = [
        json.loads(line)
        for line in export("*", export.out, "--plan", "--json").stdout.split("\n")
        if line
    ]
    assert [plan["event"] for plan in plans] == ["plan"] * 3 + ["finished"]
    assert not export.out.exists()


def test_many_projects_need_a_folder(export: Command) -> None:
    done = export("*", "-", "--what", "history")
    assert done.returncode == 2
    assert "Many projects are exported to a folder" in done.stderr
