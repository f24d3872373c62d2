"""Typos at the command line: each is reported in one line, with an exit code."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import pytest

from aiowandb.cli import main
from tests.support.sample import Sample

FAILED, WRONG = 1, 2
EXPORT = ("export", "PROJECT", "out")
RUN = "PROJECT/nope"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the commands run: with a file, wrong rows, and rows of somebody else."""
    (tmp_path / "file").write_text("mine")
    (tmp_path / "wrong.jsonl").write_bytes(b"\xff\xfe\n")
    (tmp_path / "taken" / "history").mkdir(parents=True)
    (tmp_path / "taken" / "history" / "mine.parquet").write_text("precious")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["exprot"], WRONG, "No such command 'exprot'; did you mean 'export'?"),
        (["export"], WRONG, "Missing argument"),
        (["export", "PROJECT"], WRONG, "Missing argument 'FOLDER'"),
        (["export", "PROJECT", ""], WRONG, "is empty"),
        (["export", "local/nope", "out"], FAILED, "Could not find project local/nope"),
        (["export", RUN, "out"], WRONG, "is not the path of a project"),
        (["export", "PROJECT", "file"], FAILED, "Cannot write file: Not a directory"),
        (["export", "PROJECT", "taken"], FAILED, "taken has history/mine.parquet"),
        (["export", "PROJECT", "s3://"], WRONG, "has no folder"),
        (["export", "PROJECT", "http://h/x"], WRONG, "cannot be exported into"),
        ([*EXPORT, "--format", "xlsx"], WRONG, "--format: 'xlsx' is not one of parquet, csv"),
        ([*EXPORT, "--bogus"], WRONG, "No such option '--bogus'"),
        ([*EXPORT, "--since", "yesterday"], WRONG, "is not a date like 2026-01-31"),
        ([*EXPORT, "--samples", "0"], WRONG, "0 is not a whole number of at least 1"),
        ([*EXPORT, "--min-step", "9", "--max-step", "3"], WRONG, "No step is at least 9 and"),
        ([*EXPORT, "--safe-csv"], WRONG, "--safe-csv requires the format csv"),
        ([*EXPORT, "--split", "run", "--format", "delta"], WRONG, "leave --split out"),
        ([*EXPORT, "--filter", "config.lr = 3"], WRONG, "column 11: expected one of =="),
        ([*EXPORT, "--filter", "[1]"], WRONG, "column 1: expected a name"),
        ([*EXPORT, "--filter", '{"$foo": 1}'], WRONG, "there is no operator $foo"),
        ([*EXPORT, "--order", "up"], FAILED, "runs have no field 'up'"),
        (["export", "PROJECT", "-", "--format", "delta"], WRONG, "written to a stream"),
        (["export", "PROJECT", "-", "--what", "files"], WRONG, "histograms, not files"),
        (["export", "PROJECT", "-", "--split", "run"], WRONG, "leave --split out"),
        (["runs", "PROJECT", "--limit", "0"], WRONG, "0 is not a whole number of at least 1"),
        (["runs", "local/nope"], FAILED, "Could not find project local/nope"),
        (["runs", "PROJECT", "--filter", 'name == "sleeping"'], 0, "No runs found."),
        (["run", RUN], FAILED, "Could not find run PROJECT/nope"),
        (["run", "nope"], WRONG, "has no project"),
        (["history", RUN, "-k", "loss"], FAILED, "Could not find run PROJECT/nope"),
        (["history", RUN, "--plot"], WRONG, "--plot requires --keys"),
        (["history", RUN, "--all", "--samples", "3"], WRONG, "cannot be combined"),
        (["files", RUN], FAILED, "Could not find run PROJECT/nope"),
        (["files", RUN, "--replace"], WRONG, "--replace requires --download"),
        (["files", RUN, "--download", "file"], WRONG, "'file' is a file"),
        (["append", RUN, "none.jsonl"], WRONG, "No such file or directory"),
        (["append", RUN, "wrong.jsonl"], FAILED, "Could not find run PROJECT/nope"),
        (["projects", "nobody"], 0, "No projects found."),
        (
            ["projects", "--base-url", "http://x"],
            WRONG,
            "--local and --base-url cannot be combined",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_mistake_is_reported_and_changes_nothing(
    folder: Path,
    sample: Sample,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    said: str,
) -> None:
    given = [argument.replace("PROJECT", sample.path) for argument in arguments]
    monkeypatch.setattr("sys.argv", ["aiowandb", *given, "--local", str(sample.folder)])
    assert exit_code(main) == code
    out, err = capsys.readouterr()
    assert said.replace("PROJECT", sample.path) in err
    assert err.count("\n") == 1
    assert out == ""
    assert not [path for path in folder.glob("out/*") if path.name != ".aiowandb-export"]
    assert (folder / "taken" / "history" / "mine.parquet").read_text() == "precious"


def exit_code(run: Any) -> Any:
    try:
        run()
    except SystemExit as ended:
        return ended.code
    return 0


def test_a_command_within_a_program_leaves_its_logging_and_warnings_as_they_were(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    logger = logging.getLogger("aiowandb")
    before = warnings.showwarning, logger.handlers.copy()
    monkeypatch.setattr("sys.argv", ["aiowandb", "exprot"])
    with pytest.raises(SystemExit):
        main()
    assert (warnings.showwarning, logger.handlers) == before
