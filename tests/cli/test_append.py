"""`aiowandb append`: repeated, interrupted, and with wrong input."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from subprocess import PIPE
from typing import Any

import anyio.to_thread
import pytest

from aiowandb.cli import main
from aiowandb_server import RunChanges, Store, create_app, serve_in_thread
from tests.support.shell import aiowandb

RUN = "local/p/r"


class Command:
    """`aiowandb append` in this process."""

    def __init__(self, patch: pytest.MonkeyPatch, said: pytest.CaptureFixture[str]) -> None:
        self._patch = patch
        self._said = said

    def __call__(self, *arguments: object) -> tuple[int, str, str]:
        """The exit code, and what was said on both channels."""
        self._patch.setattr("sys.argv", ["aiowandb", "append", RUN, *map(str, arguments)])
        code: Any = 0
        try:
            main()
        except SystemExit as ended:
            code = ended.code
        return code, *self._said.readouterr()


@pytest.fixture
def append(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An embedded W&B with the finished run local/p/r of one row."""
    with Store.open(tmp_path / "wandb") as store:
        store.accounts.ensure_user("local", is_admin=True)
        project, _ = store.projects.ensure("local", "p")
        run, _ = store.runs.upsert(project, "r", RunChanges())
        store.history.append(run, ['{"_step": 0, "n": -1}'])
        store.finish(run)
    return tmp_path / "wandb"


def write(file: Path, rows: list[Any]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def found(folder: Path) -> tuple[str, list[int]]:
    """The state of the run, and its rows."""
    with Store.open(folder) as store:
        project, _ = store.projects.ensure("local", "p")
        run = store.runs.get(project, "r")
        assert run
        rows = map(json.loads, store.history.window(run, 0, 10**9, 10**6))
        return run.state, [row["n"] for row in rows]


ROWS = [{"n": n} for n in range(5)]


def test_a_file_is_added_once_however_often_the_command_is_repeated(
    append: Command, folder: Path, tmp_path: Path
) -> None:
    file = write(tmp_path / "rows", ROWS)
    assert append(file, "--local", folder) == (0, "5 rows added; the last step is 5.\n", "")
    code, said, hint = append(file, "--local", folder)
    assert (code, said) == (0, "0 rows added, 5 skipped as already there; the last step is 5.\n")
    assert "To add it again, use another --token" in hint
    assert found(folder) == ("finished", [-1, *range(5)])


def test_a_file_is_added_again_under_another_name(
    append: Command, folder: Path, tmp_path: Path
) -> None:
    file = write(tmp_path / "rows", ROWS)
    for name in ("first", "second", "first"):
        code, _, complaint = append(file, "--local", folder, "--token", name)
        assert (code, complaint) == (0, "")
    assert found(folder)[1] == [-1, *range(5), *range(5)]


def test_a_file_that_has_grown_adds_what_is_new_if_it_has_a_name(
    append: Command, folder: Path, tmp_path: Path
) -> None:
    command = (tmp_path / "rows", "--local", folder, "--token", "log")
    write(tmp_path / "rows", ROWS[:3])
    append(*command)
    write(tmp_path / "rows", ROWS)
    said = "2 rows added, 3 skipped as already there; the last step is 5.\n"
    assert append(*command) == (0, said, "")
    assert found(folder)[1] == [-1, *range(5)]
    write(tmp_path / "rows", [{"n": 7}] * 9)
    code, said, complaint = append(*command)
    assert (code, said) == (1, "")
    assert "the first 5 rows are not those that were added with token 'log'" in complaint
    assert found(folder) == ("finished", [-1, *range(5)])


@pytest.mark.slow
def test_the_standard_input_may_be_a_file_too(folder: Path, tmp_path: Path) -> None:
    write(tmp_path / "rows", ROWS)
    command = [sys.executable, "-m", "aiowandb", "append", RUN, "--local", str(folder)]
    for _ in range(2):
        with (tmp_path / "rows").open("rb") as file:
            assert subprocess.run(command, stdin=file, capture_output=True).returncode == 0
    assert found(folder)[1] == [-1, *range(5)]


def test_a_pipe_is_added_each_time_unless_it_has_a_name(folder: Path) -> None:
    for row, more in (('{"n": 0}', []), ('{"n": 1}', ["--token", "mine"])):
        for _ in range(2):
            done = aiowandb("append", RUN, "--local", folder, *more, stdin=row)
            assert done.returncode == 0
    assert found(folder)[1] == [-1, 0, 0, 1]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("x", "Line 3: invalid JSON"),
        ("[1]", "Line 3: a row must be a JSON object"),
        ('{"n": 9, "_step": "last"}', "Line 3: _step must be an integer, not 'last'"),
        ('{"n": 9, "_step": null}', "Line 3: _step must be an integer, not None"),
        ('{"n": 9, "_step": 7}', "Line 3: step 7 is not greater than step 8."),
    ],
)
def test_a_file_with_a_wrong_line_adds_nothing_and_changes_no_state(
    append: Command, folder: Path, tmp_path: Path, line: str, complaint: str
) -> None:
    (tmp_path / "rows").write_text(f'{{"n": 0, "_step": 7}}\n{{"n": 1}}\n{line}\n{{"n": 2}}\n')
    code, said, errors = append(tmp_path / "rows", "--local", folder, "--state", "failed")
    assert (code, said) == (2, "")
    assert complaint in errors
    assert found(folder) == ("finished", [-1])


@pytest.mark.skipif(sys.platform == "win32", reason="files have no holes there")
def test_a_line_without_end_is_not_read(append: Command, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "rows").write_text('{"n": 0}\n')
    os.truncate(tmp_path / "rows", 1 << 40)
    code, _, errors = append(tmp_path / "rows", "--local", folder)
    assert code == 2
    assert "Line 2 is longer than 64 MB" in errors
    assert found(folder) == ("finished", [-1])


def test_a_step_before_the_end_of_the_history_is_refused_and_the_rows_before_it_are_kept(
    append: Command, folder: Path, tmp_path: Path
) -> None:
    file = write(tmp_path / "rows", [{"n": 0}, {"n": 1, "_step": 1}])
    code, _, errors = append(file, "--local", folder)
    assert code == 2
    assert "Line 2: Rows are added at the end: step 1 is not after step 1" in errors
    assert "aiowandb: W&B has acknowledged 1 of these rows." in errors
    assert found(folder) == ("finished", [-1, 0])


class Distant:
    """The same W&B on a port. It signals the first rows, and takes more only when it is told to."""

    def __init__(self, store: Store) -> None:
        self._app = create_app(store)
        self.first_rows = threading.Event()
        self.takes_more = threading.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self.first_rows.is_set():
            await anyio.to_thread.run_sync(self.takes_more.wait)
        await self._app(scope, receive, send)
        if scope["path"].endswith("file_stream"):
            self.first_rows.set()


@pytest.mark.slow
def test_an_interrupt_ends_a_file_before_its_end_and_does_not_finish_the_run(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / "rows", [{"n": n} for n in range(5_000)])
    command = [sys.executable, "-m", "aiowandb", "append", RUN, str(file), "--state", "finished"]
    with Store.open(folder) as store:
        distant = Distant(store)
        with serve_in_thread(distant) as url:
            monkeypatch.setenv("WANDB_API_KEY", store.local_key)
            monkeypatch.setenv("WANDB_BASE_URL", url)
            with subprocess.Popen(command, stdout=PIPE, stderr=PIPE) as process:
                assert distant.first_rows.wait(120)
                process.send_signal(signal.SIGINT)
                distant.takes_more.set()
                said, complaint = process.communicate(timeout=120)
            assert (process.returncode, said) == (130, b"")
            assert complaint.strip() == b"aiowandb: interrupted"
            state, rows = found(folder)
            assert state == "failed"
            assert rows == list(range(-1, len(rows) - 1))
            assert 1000 < len(rows) < 5_000
            # The same command goes on.
            assert subprocess.run(command, capture_output=True).returncode == 0
            assert found(folder) == ("finished", list(range(-1, 5_000)))
