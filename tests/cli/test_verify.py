"""`aiowandb verify`: what is damaged, what is missing, and what may be deleted at W&B."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.sample import RUNS, Sample
from tests.support.shell import aiowandb, complaints


@pytest.fixture
def out(sample: Sample, tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    done = aiowandb("export", sample.path, folder, "--local", sample.folder, "--quiet")
    assert done.returncode == 0, done.stderr
    return folder


def test_it_is_said_which_runs_may_be_deleted(sample: Sample, out: Path) -> None:
    done = aiowandb("verify", out, "--local", sample.folder)
    assert (done.returncode, complaints(done.stderr)) == (0, "")
    assert f"of {RUNS:,} runs" in done.stdout
    assert "not to be exported" in done.stdout  # the runs have files


def test_a_damage_is_printed_with_an_exit_code(sample: Sample, out: Path) -> None:
    (out / "runs.parquet").write_bytes(b"PAR1")
    done = aiowandb("verify", out, "--offline")
    assert done.returncode == 3
    assert "runs.parquet: it has 4 bytes instead of" in done.stdout
    assert "Nothing may be deleted" in done.stdout
    found = json.loads(aiowandb("verify", out, "--offline", "--json").stdout)
    assert found["is_complete"] is False
    assert found["problems"][0]["where"] == "runs.parquet"
    quiet = aiowandb("verify", out, "--local", sample.folder, "--quiet")
    assert quiet.returncode == 3
    assert "may be deleted" not in quiet.stdout.lower()


def test_offline_with_a_server_is_wrong_use(out: Path) -> None:
    assert aiowandb("verify", out, "--offline", "--base-url", "https://x.y").returncode == 2
    assert aiowandb("verify", out, "--json", "--quiet").returncode == 2
