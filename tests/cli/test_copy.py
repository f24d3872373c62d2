"""`aiowandb copy` and `aiowandb mirror`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aiowandb import Api
from aiowandb_server import RunChanges, Store, create_app, serve_in_thread
from tests.support.artifacts import log_artifact
from tests.support.sample import ROWS, RUNS, Sample
from tests.support.shell import Completed, aiowandb, complaints


@pytest.fixture
def folder(new_folder: Callable[[Path], Path], tmp_path: Path) -> Path:
    return new_folder(tmp_path / "target")


def copy(sample: Sample, *arguments: object) -> Completed:
    source = ("copy", sample.path, "local/copied", "--from-local", sample.folder)
    return aiowandb(*source, *arguments)


def last_event(done: Completed) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_a_project_is_copied_and_the_copy_is_like_it(sample: Sample, folder: Path) -> None:
    done = copy(sample, "--to-local", folder, "--verify")
    assert (done.returncode, complaints(done.stderr)) == (0, "")
    assert f"{RUNS * ROWS:,}" in done.stdout
    again = last_event(copy(sample, "--to-local", folder, "--json"))
    assert again["counts"] == {"unchanged": RUNS}
    assert again["carried"] == {}


def test_what_is_left_out_of_artifacts_is_printed(new_folder: Any, tmp_path: Path) -> None:
    with Store.open(new_folder(tmp_path / "source")) as store:
        project, _ = store.projects.ensure("local", "linked")
        run, _ = store.runs.upsert(project, "r")
        log_artifact(store, run, "set", {"f": b"1"})
        registry, _ = store.projects.ensure("local", "wandb-registry-data")
        portfolio = store.collections.ensure(registry, "Numbers", "dataset", "PORTFOLIO")
        (version,) = store.artifacts.of_run(run.id, "output", first=9).items
        store.artifacts.link(version, portfolio, ())
    command = ("copy", "local/linked", "local/copied", "--from-local", tmp_path / "source")
    note = "its link to local/wandb-registry-data/Numbers:v0, which is not in the copied project"
    assert f"dropped (1 artifacts): {note}" in aiowandb(*command).stdout


def test_a_plan_is_printed_and_nothing_is_sent(sample: Sample, folder: Path) -> None:
    done = copy(sample, "--to-local", folder, "--plan")
    assert done.returncode == 0
    assert f"{RUNS * ROWS:,}" in done.stdout
    with Api.local(folder) as api:
        assert api.projects().count() == 0


@pytest.mark.slow
def test_differences_are_printed_with_an_exit_code(sample: Sample, folder: Path) -> None:
    assert copy(sample, "--to-local", folder, "--quiet").returncode == 0
    with Api.local(folder) as api:
        run = api.runs("local/copied")[0]
        run.notes = "changed"
        run.update()
    done = copy(sample, "--to-local", folder, "--verify")
    assert done.returncode == 3
    assert f"{run.id}: notes: " in done.stdout


def test_runs_in_the_way_are_an_error_in_one_line(sample: Sample, folder: Path) -> None:
    with Store.open(folder) as store:
        store.accounts.ensure_entity("local")
        project, _ = store.projects.ensure("local", "copied")
        with Api.local(sample.folder) as api:
            name = api.runs(sample.path)[0].id
        store.runs.upsert(project, name, RunChanges(notes="mine"))
    done = copy(sample, "--to-local", folder)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"aiowandb: local/copied/{name} exist")


@pytest.fixture
def server(folder: Path) -> Iterator[tuple[str, str]]:
    with Store.open(folder) as store, serve_in_thread(create_app(store)) as url:
        yield url, store.local_key


def test_the_target_may_be_a_server_with_a_key_of_its_own(
    sample: Sample, server: tuple[str, str]
) -> None:
    url, key = server
    command = ("copy", sample.path, "local/copied", "--from-local", sample.folder)
    done = aiowandb(*command, "--to-base-url", url, "--json", WANDB_TARGET_API_KEY=key)
    assert (done.returncode, done.stderr) == (0, "")
    assert last_event(done)["counts"] == {"created": RUNS}


def test_a_mirror_is_made_and_kept_up_to_date(sample: Sample, tmp_path: Path) -> None:
    command = ("mirror", sample.path, tmp_path / "mirror", "--local", sample.folder, "--json")
    assert last_event(aiowandb(*command))["counts"] == {"created": RUNS}
    assert last_event(aiowandb(*command))["counts"] == {"unchanged": RUNS}
    listed = aiowandb("runs", "local/sample", "--local", tmp_path / "mirror", "--format", "json")
    assert len(listed.stdout.splitlines()) == RUNS


@pytest.mark.parametrize(
    "options",
    [("--json", "--quiet"), ("--to-local", "x", "--to-base-url", "http://h"), ("--ids", "kep")],
)
def test_wrong_options_are_wrong_usage(sample: Sample, options: tuple[str, ...]) -> None:
    done = copy(sample, *options)
    assert (done.returncode, done.stdout) == (2, "")


def test_an_export_is_restored(sample: Sample, folder: Path, tmp_path: Path) -> None:
    exported = ("export", sample.path, tmp_path / "out", "--local", sample.folder, "--quiet")
    assert aiowandb(*exported).returncode == 0
    done = aiowandb("restore", tmp_path / "out", "local/restored", "--local", folder, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert last_event(done)["carried"]["rows"] == RUNS * ROWS


def test_a_table_is_imported(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "losses.csv").write_text("experiment,lr,loss\na,0.1,2\na,0.1,1\nb,0.2,3\n")
    command = ("import", tmp_path / "losses.csv", "local/imported", "--local", folder, "--json")
    columns = ("--run-column", "experiment", "--config-column", "lr")
    assert last_event(aiowandb(*command, *columns))["counts"] == {"created": 2}
    with Api.local(folder) as api:
        run = api.run("local/imported/a")
        assert (run.config["lr"], run.summary["loss"]) == (0.1, 1)
        assert [row["loss"] for row in run.scan_history()] == [2, 1]
