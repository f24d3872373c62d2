"""The commands, as a person or a script runs them."""

from __future__ import annotations

import csv
import io
import json
import os
import shlex
import signal
import subprocess
import sys
from contextlib import chdir
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from aiowandb import Api
from aiowandb.cli.serve import serve
from aiowandb_server import RunChanges, Store
from tests.conftest import MEASURING
from tests.support import shell
from tests.support.sample import ROWS, RUNS, Sample
from tests.support.shell import complaints


def aiowandb(*arguments: str | Path, cwd: Path | None = None) -> str:
    with chdir(cwd or Path.cwd()):
        done = shell.aiowandb(*arguments)
    assert (done.returncode, complaints(done.stderr)) == (0, "")
    return done.stdout


def test_runs_are_listed_for_people_and_for_programs(sample: Sample) -> None:
    listed = ("runs", sample.path, "--local", sample.folder)
    drawn = aiowandb(*listed)
    records = [json.loads(line) for line in aiowandb(*listed, "--format", "json").splitlines()]
    rows = list(csv.DictReader(io.StringIO(aiowandb(*listed, "--format", "csv"))))
    assert len(records) == len(rows) == RUNS
    assert all(record["id"] in drawn for record in records)
    assert [record["name"] for record in records] == [row["name"] for row in rows]


def test_runs_can_be_chosen_and_limited(sample: Sample) -> None:
    out = aiowandb(
        *("runs", sample.path, "--local", sample.folder, "--format", "json"),
        *("--filter", '{"state": "finished"}', "--limit", "2", "--order", "+created_at"),
    )
    assert [json.loads(line)["state"] for line in out.splitlines()] == ["finished"] * 2


@pytest.mark.parametrize("chosen", ['{"state": "finished"}', 'state == "finished"'])
def test_a_filter_is_json_or_an_expression(sample: Sample, chosen: str) -> None:
    listed = ("runs", sample.path, "--local", sample.folder, "--format", "json", "--filter", chosen)
    states = [json.loads(line)["state"] for line in aiowandb(*listed).splitlines()]
    assert set(states) == {"finished"}


def test_a_project_is_exported(sample: Sample, tmp_path: Path) -> None:
    done = shell.aiowandb_process("export", sample.path, tmp_path / "out", "--local", sample.folder)
    out = done.stdout
    assert (done.returncode, complaints(done.stderr)) == (0, "")
    assert f"{RUNS * ROWS:,}" in out
    assert str(tmp_path / "out" / "history") in out.replace("\n", "")
    assert pq.read_table(tmp_path / "out" / "history").num_rows == RUNS * ROWS


@pytest.fixture(scope="module")
def with_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wandb")
    with Store.open(folder) as store:
        project = store.projects.ensure("local", "demo")[0]
        run = store.runs.upsert(project, "r1", RunChanges())[0]
        for name in ("100%.txt", "1000.txt", "media/a_b.png", "media/axb.png"):
            store.files.add(run, name, name.encode())
    return folder


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*", ["100%.txt", "1000.txt", "media/a_b.png", "media/axb.png"]),
        ("media/*", ["media/a_b.png", "media/axb.png"]),
        ("media/a?b.png", ["media/a_b.png", "media/axb.png"]),
        ("media/a_b.png", ["media/a_b.png"]),
        ("100%.txt", ["100%.txt"]),
        ("nothing", []),
    ],
)
def test_files_are_listed_by_a_pattern(with_files: Path, pattern: str, names: list[str]) -> None:
    listed = ("files", "local/demo/r1", "--local", with_files, "--pattern", pattern)
    records = [json.loads(line) for line in aiowandb(*listed, "--format", "json").splitlines()]
    assert [record["name"] for record in records] == names


def test_files_are_downloaded(with_files: Path, tmp_path: Path) -> None:
    command = ("files", "local/demo/r1", "--local", with_files, "--download", tmp_path)
    (tmp_path / "1000.txt").write_text("mine")
    out = aiowandb(*command, "--pattern", "1*", "--format", "csv")
    assert [row["path"] for row in csv.DictReader(io.StringIO(out))] == [
        str(tmp_path / "100%.txt"),
        str(tmp_path / "1000.txt"),
    ]
    assert (tmp_path / "1000.txt").read_text() == "mine"
    aiowandb(*command, "--replace")
    assert (tmp_path / "1000.txt").read_text() == "1000.txt"
    assert (tmp_path / "media" / "a_b.png").exists()


def test_projects_are_listed(with_files: Path) -> None:
    for entity in ((), ("local",)):
        drawn = aiowandb("projects", *entity, "--local", with_files)
        assert "demo" in drawn
    (record,) = aiowandb("projects", "--local", with_files, "--format", "json").splitlines()
    assert (json.loads(record)["name"], json.loads(record)["entity"]) == ("demo", "local")


@pytest.mark.slow
def test_the_demo_can_be_run_twice(tmp_path: Path) -> None:
    for _ in range(2):
        out = aiowandb("demo", cwd=tmp_path)
        *above, look = out.partition("\nTo look at it in a browser")[0].strip().splitlines()
        assert "\n\nThe project is local/sample. Try next:\n" in out
        assert "\ufffd" not in out
        (listed,) = [line for line in above if line.startswith("  aiowandb runs ")]
        assert len(aiowandb(*shlex.split(listed)[1:], cwd=tmp_path).splitlines()) > 5
        done = subprocess.run(look, shell=True, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0
        assert "'_step': 0" in done.stdout
        link = out.strip().splitlines()[-1].strip()
        assert link.startswith("http://127.0.0.1:8080/local/sample?token=")
    table = pq.read_table(tmp_path / "aiowandb-demo" / "parquet" / "history")
    assert len(set(table["run_id"].to_pylist())) >= 60
    assert table.num_rows >= 60 * 2000


@pytest.mark.parametrize(
    "stop", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_serve_says_where_it_listens_and_stops_when_told(sample: Sample, stop: int) -> None:
    command = [sys.executable, "-m", "aiowandb", "serve", "--port", "0"]
    command += ["--data", str(sample.folder)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=os.environ | MEASURING
    ) as server:
        assert server.stdout is not None
        first = server.stdout.readline()
        assert server.stdout.readline().startswith("open http://127.0.0.1:")
        assert first.startswith("listening on http://127.0.0.1:")
        with Api(sample.key, base_url=first.removeprefix("listening on ").strip()) as api:
            assert api.runs(sample.path).count() == RUNS
        server.send_signal(stop)
        assert server.wait(timeout=60) == 0


@pytest.mark.parametrize("text", ["5", "5/s", "5.0/s"])
def test_a_rate_may_say_what_it_is_a_rate_of(text: str) -> None:
    context = serve.make_context("serve", ["--rate-limit", text])
    assert context.params["rate_limit"] == 5
