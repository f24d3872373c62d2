"""Every command with standard streams that are closed, full, or of another encoding."""

from __future__ import annotations

import dis
import inspect
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any

import click
import pytest

from aiowandb.cli import cli
from aiowandb.export.terminal import TerminalFile
from aiowandb.trees import remove_tree
from aiowandb_server import Store
from tests.cli.test_options import ARGUMENTS
from tests.support.shell import aiowandb, aiowandb_on_terminal

# What a value may do to a terminal: colours, a title, a bell, and both with 8-bit sequences.
EVIL = "\x1b[31mred\x1b]0;title\x07 \x9b31m \x9d0;title ünï"
ARGUMENTS_OF = {
    **{
        name: [word.replace("e/p", "local/p") for word in words]
        for name, words in ARGUMENTS.items()
    },
    "delete": ["local/p/none", "--yes"],
    "export": ["local/p", "-", "--format", "csv"],
    "import": ["rows.jsonl", "local/q"],
    "mirror": ["local/p", "mirrored"],
}
# They need a server on a port, or wait for ever; their streams are those of the others.
LEFT_OUT = {"copy", "login", "serve", "status"}
COMMANDS = sorted(set(ARGUMENTS) - LEFT_OUT)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("streams")
    (folder / "rows.jsonl").write_text(json.dumps({"run_id": "x", "loss": 1}) + "\n")
    with Store.open(folder / "store") as store:
        project, _ = store.projects.ensure("local", "p")
        for name in ("r", "s"):
            run, _ = store.runs.upsert(project, name)
            rows = [{"_step": 0, "loss": 1, "text": EVIL}, {"_step": 1, "text": "half \ud800"}]
            store.history.append(run, [json.dumps(row) for row in rows])
            store.finish(run)
    return folder


def command(name: str, *words: str) -> list[str]:
    found: click.Command = cli
    for word in name.split():
        assert isinstance(found, click.Group)
        found = found.commands[word]
    local = any("--local" in parameter.opts for parameter in found.params)
    return [*name.split(), *(words or ARGUMENTS_OF[name]), *(["--local", "store"] if local else [])]


# Imports the command line once; each command has a process of its own, as it ends with the streams.
DRIVER = """
import json, os, sys
import aiowandb.embedded, aiowandb_server
from aiowandb.cli import main
kind, commands = json.load(sys.stdin)
for name, words in commands.items():
    child = os.fork()
    if not child:
        if kind == "no stdout":
            os.close(1)
            sys.stdout = None
        elif kind == "no streams":
            os.close(0), os.close(1), os.close(2)
            sys.stdin = sys.stdout = sys.stderr = None
        elif kind == "full":
            os.dup2(os.open("/dev/full", os.O_WRONLY), 1)
        elif kind == "ascii":
            sys.stdout.reconfigure(encoding="ascii", errors="strict")
            sys.stderr.reconfigure(encoding="ascii", errors="strict")
        sys.argv = ["aiowandb", *words]
        main()
        sys.exit(0)
    _, status = os.waitpid(child, 0)
    print(name, os.waitstatus_to_exitcode(status), file=sys.stderr)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["no stdout", "ascii", "no streams", "full"])
def test_no_command_shows_a_traceback_whatever_its_streams_are(here: Path, kind: str) -> None:
    # The two that take seconds print as the others do.
    commands = {name: command(name) for name in COMMANDS if name not in ("demo", "mirror")}
    done = subprocess.run(
        [sys.executable, "-c", DRIVER],
        input=json.dumps([kind, commands]),
        cwd=here,
        env=os.environ | {"WANDB_API_KEY": "0" * 40, "WANDB_BASE_URL": "http://127.0.0.1:9"},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    assert "Exception ignored" not in done.stderr
    codes = dict(line.rsplit(" ", 1) for line in done.stderr.splitlines() if line[-2:-1] == " ")
    assert set(codes.values()) <= {"0", "1", "2"}, codes
    if kind in ("no stdout", "ascii"):
        assert codes["runs"] == codes["history"] == codes["export"] == "0"


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """A folder in which folders may be deeper than pytest can remove them."""
    folder = tmp_path / "deep"
    folder.mkdir()
    yield folder
    remove_tree(folder)


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize(
    "odd", ["\udcff", "local/p/\udcff", "d/" * 1_200 + "f", "n" * 300], ids=range(4)
)
def test_no_argument_leads_to_a_traceback(
    here: Path, name: str, odd: str, deep: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(deep)
    (deep / "store").symlink_to(here / "store")
    for number in range(len(ARGUMENTS_OF[name])):
        words = list(ARGUMENTS_OF[name])
        if words[number].startswith("--") or words[number] == "-":
            continue
        words[number] = odd
        done = aiowandb(*command(name, *words), WANDB_API_KEY="0" * 40)
        assert done.returncode in (0, 1, 2), done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("format", ["csv", "jsonl"])
def test_rows_on_a_terminal_have_no_control_sequences(here: Path, format: str) -> None:
    words = ["export", "local/p", "-", "--format", format, "--quiet"]
    shown = aiowandb_on_terminal(*words, "--local", here / "store")
    assert "red" in shown
    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]", shown)
    if format == "jsonl":
        assert EVIL in [json.loads(line)["text"] for line in shown.splitlines()]


def test_a_character_may_come_in_two_writes() -> None:
    for as_json, expected in ((True, "\\u009b1m ü"), (False, "\ufffd1m ü")):
        shown = io.BytesIO()
        file = TerminalFile(shown, as_json=as_json)
        for byte in "\x9b1m ü".encode():
            file.write(bytes([byte]))
        assert shown.getvalue().decode() == expected


def test_ctrl_c_while_modules_are_imported_shows_no_traceback(tmp_path: Path) -> None:
    # What is imported first sends it, and would show where it was raised.
    (tmp_path / "click.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGINT)")
    done = subprocess.run(
        [sys.executable, "-m", "aiowandb", "runs"],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, b"", b"")


@pytest.mark.parametrize("module", ["aiowandb", "aiowandb.__main__"])
def test_ctrl_c_is_raised_nowhere_before_it_is_handled(module: str) -> None:
    """Python raises it at calls and loops; what an import runs would show a traceback, too."""
    code = compile(inspect.getsource(import_module(module)), module, "exec")
    ran = set[int]()

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        frame.f_trace_opcodes = True
        ran.add(frame.f_lasti)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        exec(code, {"__name__": module})
    finally:
        sys.settrace(before)
    steps = [step for step in dis.get_instructions(code) if step.offset in ran]
    assert len(steps) > 10
    assert not [step for step in steps if "CALL" in step.opname or "BACKWARD" in step.opname]
    imported = {step.argval for step in steps if step.opname == "IMPORT_NAME"}
    assert imported <= {"os", "sys"}  # Python itself has imported these


@pytest.mark.slow
def test_ctrl_c_at_any_time_of_the_start_shows_no_traceback_of_ours() -> None:
    for milliseconds in range(0, 120, 4):
        process = subprocess.Popen(
            [sys.executable, "-m", "aiowandb", "--help"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with suppress(subprocess.TimeoutExpired):
            process.wait(milliseconds / 1000)
        process.send_signal(signal.SIGINT)
        shown = process.communicate(timeout=60)[1]
        # Python's own modules may show one before any of ours is there.
        assert f"aiowandb{os.sep}" not in shown, shown
        assert "Traceback" in shown or process.returncode in (0, 130, -signal.SIGINT), shown
