"""The commands that show one run, read its rows and add to them."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aiowandb import Api
from aiowandb.cli.append import _lines
from tests.support.sample import ROWS, Sample
from tests.support.shell import aiowandb, complaints

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"


@pytest.fixture(scope="module")
def run(sample: Sample) -> Iterator[str]:
    """The path of a finished run."""
    with Api.local(sample.folder) as api:
        yield "/".join(api.runs(sample.path, {"state": "finished"})[0].path)


def said(*arguments: object) -> str:
    done = aiowandb(*arguments)
    assert (done.returncode, complaints(done.stderr)) == (0, "")
    return done.stdout


def records(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_run_is_shown_to_people_and_to_programs(sample: Sample, run: str) -> None:
    place = (run, "--local", sample.folder)
    drawn = said("run", *place)
    assert drawn.split()[:2] == ["path", run]
    assert "config.model.name" in drawn
    [record] = records(said("run", *place, "--format", "json"))
    assert (record["path"], record["state"]) == (run, "finished")
    assert record["config"]["lr"] > 0
    assert "val" in record["summary"]


def test_rows_are_sampled_or_complete(sample: Sample, run: str) -> None:
    place = ("history", run, "--local", sample.folder, "--keys", "train/loss")
    assert len(records(said(*place, "--format", "json", "--samples", 7))) <= 7
    rows = records(said(*place, "--format", "json", "--all"))
    table = list(csv.DictReader(io.StringIO(said(*place, "--format", "csv", "--all"))))
    assert len(rows) == len(table) == ROWS
    assert all(row.keys() == {"_step", "train/loss"} for row in [*rows, *table])
    assert [str(row["train/loss"]) for row in rows] == [row["train/loss"] for row in table]


def test_a_table_has_as_many_columns_as_can_be_read(sample: Sample, run: str) -> None:
    done = aiowandb("history", run, "--local", sample.folder, "--samples", 3)
    assert "_step" in done.stdout
    assert "more columns: select some with --keys" in done.stderr
    full = said("history", run, "--local", sample.folder, "--samples", 3, "--format", "csv")
    assert "val.loss" in full.splitlines()[0].split(",")


def test_curves_are_drawn_in_the_terminal(sample: Sample, run: str) -> None:
    keys = ("-k", "train/loss", "-k", "val.loss", "--plot")
    out = said("history", run, "--local", sample.folder, *keys)
    assert "██ train/loss   ██ val.loss" in out
    assert max(map(len, out.splitlines())) <= 120


@pytest.mark.parametrize("amount", ["--all", "--samples=50"])
def test_nested_keys_are_read_by_the_name_of_their_parent(
    sample: Sample, run: str, amount: str
) -> None:
    place = ("history", run, "--local", sample.folder, "-k", "val")
    header, *lines = said(*place, amount, "--format", "csv").splitlines()
    assert sorted(header.split(",")) == ["_step", "val.acc", "val.best", "val.loss"]
    assert all(any(line.split(",")[1:]) for line in lines)
    rows = records(said(*place, amount, "--format", "json"))
    assert len(rows) == len(lines) > 0
    assert all({"_step"} < row.keys() <= set(header.split(",")) for row in rows)
    assert "val.acc" in said(*place, amount).splitlines()[1]
    drawn = said(*place, amount, "--plot")
    assert "val.acc" in drawn
    assert "val.loss" in drawn


@pytest.mark.parametrize(("name", "magic"), [("a.png", b"\x89PNG"), ("b.svg", b"<?xml")])
def test_curves_are_painted(
    sample: Sample, run: str, name: str, magic: bytes, tmp_path: Path
) -> None:
    file = tmp_path / name
    said("history", run, "--local", sample.folder, "-k", "train/loss", "--plot", file)
    assert file.read_bytes().startswith(magic)


@pytest.mark.parametrize(
    ("options", "code", "complaint"),
    [
        (("--all", "--samples", 3), 2, "cannot be combined"),
        (("--plot",), 2, "--plot requires --keys"),
        (("-k", "phase", "--plot"), 1, "has no numeric values for 'phase'"),
        (("-k", "train/loss", "--plot", "curve.doc"), 2, "is saved as .png, .svg, .pdf"),
    ],
    ids=str,
)
def test_plots_that_are_not_possible_are_explained(
    sample: Sample, run: str, options: tuple[object, ...], code: int, complaint: str
) -> None:
    done = aiowandb("history", run, "--local", sample.folder, *options)
    assert done.returncode == code
    assert complaint in done.stderr


@pytest.fixture
def short(tmp_path: Path) -> Path:
    """A folder with the run local/p/r of one row."""
    with (
        Api.local(tmp_path, project="p") as api,
        api.create_run("r").append(state="finished") as log,
    ):
        log({"loss": 1.0})
    return tmp_path


def rows_of(folder: Path) -> tuple[str | None, list[dict[str, Any]]]:
    """The state of the run, and its rows."""
    with Api.local(folder, project="p") as api:
        run = api.run("r")
        return run.state, list(run.scan_history(["loss"]))


def test_rows_are_appended_from_a_pipe(short: Path) -> None:
    rows = '{"loss": 0.5}\n\n{"loss": NaN, "_step": 10}\n{"loss": 0.1}\n'
    done = aiowandb("append", "local/p/r", "--local", short, stdin=rows)
    assert (done.returncode, complaints(done.stderr)) == (0, "")
    assert done.stdout == "3 rows added; the last step is 11.\n"
    state, found = rows_of(short)
    assert state == "finished"
    assert [row["_step"] for row in found] == [0, 1, 10, 11]


def test_rows_of_a_history_can_be_appended(short: Path, tmp_path: Path) -> None:
    aiowandb("append", "local/p/r", "--local", short, stdin='{"loss": -Infinity}')
    out = said("history", "local/p/r", "--local", short, "--all", "--format", "json")
    (tmp_path / "rows").write_text(out.replace('"_step":', '"_step":10'))
    said("append", "local/p/r", tmp_path / "rows", "--local", short, "--state", "failed")
    state, found = rows_of(short)
    assert state == "failed"
    assert [row["loss"] for row in found] == [1.0, float("-inf")] * 2


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("x", "Line 2: invalid JSON"),
        ("[1]", "Line 2: a row must be a JSON object"),
        ('{"_step": 0}', "Line 2: Rows are added at the end: step 0"),
        ('{"_step": "last"}', "Line 2: _step must be an integer, not 'last'"),
    ],
)
def test_a_wrong_line_is_named_and_the_rows_before_it_are_kept(
    short: Path, line: str, complaint: str
) -> None:
    stdin = f'{{"loss": 0.5}}\n{line}\n{{"loss": 0.6}}\n'
    done = aiowandb("append", "local/p/r", "--local", short, stdin=stdin)
    assert done.returncode == 2
    assert complaint in done.stderr
    assert [row["loss"] for row in rows_of(short)[1]] == [1.0, 0.5]


def test_an_interrupted_pipe_ends_the_rows_and_loses_none() -> None:
    class Interrupted(io.BytesIO):
        def readline(self, size: int | None = -1, /) -> bytes:
            if line := super().readline(size):
                return line
            raise KeyboardInterrupt

    assert list(_lines(Interrupted(b"{}\n"))) == [(1, b"{}\n")]


def test_a_shell_completes_commands_and_choices() -> None:
    def completed(words: str, place: int) -> list[str]:
        environ = {"COMP_WORDS": words, "COMP_CWORD": str(place)}
        done = aiowandb(_AIOWANDB_COMPLETE="bash_complete", **environ)
        return [line.removeprefix("plain,") for line in done.stdout.splitlines()]

    assert completed("aiowandb ru", 1) == ["run", "runs"]
    assert completed("aiowandb run --format ", 3) == ["table", "json"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes_as_the_readme_says() -> None:
    line = re.search(r'eval "\$\(_AIOWANDB_COMPLETE=.*\)"', PAGE.read_text(encoding="utf-8"))
    assert line
    asked = "COMP_WORDS=(aiowandb export --form) COMP_CWORD=2; _aiowandb_completion aiowandb"
    done = subprocess.run(
        ["bash", "-c", f'set -e; {line[0]}; {asked}; echo "${{COMPREPLY[@]}}"'],
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == ("--format\n", "")


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_instructions_for_completion(shell: str) -> None:
    assert "_AIOWANDB_COMPLETE=" in aiowandb(_AIOWANDB_COMPLETE=f"{shell}_source").stdout


def test_values_too_large_for_other_parsers_are_shown_unchanged(tmp_path: Path) -> None:
    with Api.local(tmp_path, project="p") as api:
        run = api.create_run("r", config={"id": 2**70, "half": "\ud800"})
        with run.append(state="finished") as log:
            log({"id": 2**70, "loss": math.nan})
    [record] = records(said("run", "local/p/r", "--local", tmp_path, "--format", "json"))
    assert record["config"] == {"id": 2**70, "half": "\ufffd"}
    for amount in ("--all", "--samples=5"):
        out = said("history", "local/p/r", "--local", tmp_path, amount, "--format", "json")
        [row] = records(out)
        assert row["loss"] == "NaN"
        assert row["id"] == 2**70 or amount == "--all"  # Parquet has doubles
