"""Beam for real, with two worker processes, one of which is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from .conftest import PATH, Project, rows

pytestmark = [pytest.mark.engines, pytest.mark.filterwarnings("default")]

# Beam's sink shows its files when all of them are complete.
JOB = """
import sys
import apache_beam as beam
import pyarrow as pa
from aiowandb import Api

path, out, *options = sys.argv[1:]

def rows(part):
    for batch in part.read():
        yield from batch.to_pylist()

if __name__ == "__main__":
    with Api() as api:
        plan = api.runs(path).plan()
    schema = pa.schema([(name, kind if name != "run_id" else pa.string())
                        for name, kind in zip(plan.schema.names, plan.schema.types)])
    with beam.Pipeline(argv=options) as pipeline:
        found = pipeline | beam.Create(plan.parts(4)) | beam.Reshuffle() | beam.FlatMap(rows)
        found |= beam.io.WriteToParquet(out, schema, file_name_suffix=".parquet")
"""
RUNNER = ["--runner=FnApiRunner", "--direct_running_mode=multi_processing"]
# Of Beam's local runner, whose thread says so; 2.77 does not start the worker again, but waits.
GONE = "Worker subprocess exited with return code"


def start(script: Path, out: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, script, PATH, out / "rows", *RUNNER, "--direct_num_workers=2"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_a_job_whose_worker_is_killed_shows_nothing_and_run_again_makes_no_doubles(
    project: Project, tmp_path: Path
) -> None:
    script, out = tmp_path / "job.py", tmp_path / "out"
    script.write_text(JOB)
    out.mkdir()
    expected = project.export("all")
    project.hold_up()
    with start(script, out) as job:
        assert project.reached.wait(240)
        worker = next(
            process
            for process in psutil.Process(job.pid).children(recursive=True)
            # Beam starts them by a shell.
            if "sdk_worker" in " ".join(process.cmdline()) and process.name() != "sh"
        )
        worker.send_signal(signal.SIGKILL)
        assert job.stderr
        said = ""
        while GONE not in said:
            line = job.stderr.readline()
            assert line, said
            said += line
        project.go_on()
        os.killpg(job.pid, signal.SIGKILL)
        said += job.stderr.read()
    assert list(out.glob("rows*.parquet")) == []
    with start(script, out) as again:
        _, said_again = again.communicate(timeout=240)
        assert again.returncode == 0, said_again
    tables = [pq.read_table(file) for file in sorted(out.glob("rows*.parquet"))]
    assert rows(pa.concat_tables(tables)) == rows(expected)
    assert "HTTP Request: GET" in said + said_again
    assert project.secrets_in(said + said_again) == []
