"""`aiowandb export --plan` prints what an export would do, for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.sample import ROWS, RUNS, Sample
from tests.support.shell import Completed, aiowandb, complaints


def planned(sample: Sample, *arguments: object) -> Completed:
    done = aiowandb("export", sample.path, *arguments, "--local", sample.folder, "--plan")
    assert (done.returncode, complaints(done.stderr)) == (0, "")
    return done


def test_a_plan_is_a_table_and_what_is_left_out(sample: Sample, tmp_path: Path) -> None:
    done = planned(sample, tmp_path / "out", "--what", "history", "--what", "files")
    said = done.stdout
    assert f"{RUNS} runs ({RUNS} new, 0 changed, 0 unchanged)" in said
    assert f"About {RUNS * ROWS:,} rows" in said
    assert "requests, less than a minute (no limit known)" in said
    assert f"Free at {tmp_path / 'out'}: " in said
    assert "rows of system metrics: system is not in what" in said
    assert not (tmp_path / "out").exists()


def test_a_plan_for_programs_is_a_line_of_json(sample: Sample, tmp_path: Path) -> None:
    plan = json.loads(planned(sample, tmp_path / "out", "--json").stdout)
    assert (plan["event"], plan["runs"], plan["rows"]) == ("plan", RUNS, RUNS * ROWS)
    assert [table["table"] for table in plan["tables"]] == ["runs", "history"]
    assert {"what", "why"} == set(plan["left_out"][0])
    assert plan["fits"] is True


def test_after_an_export_nothing_is_left_to_do(sample: Sample, tmp_path: Path) -> None:
    aiowandb("export", sample.path, tmp_path / "out", "--local", sample.folder, "--quiet")
    said = planned(sample, tmp_path / "out").stdout
    assert f"0 new, 0 changed, {RUNS} unchanged" in said
