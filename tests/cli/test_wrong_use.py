"""Wrong use of the command line: one line that says what to do, an exit code, no traceback."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest

from aiowandb.cli import progress
from aiowandb.cli import waits as reports
from aiowandb.net import waits
from aiowandb_server import serve_in_thread
from tests.support import shell

KEY = "k" * 40


def aiowandb(
    *arguments: str, heard: shell.Heard = lambda said: None, **environ: str
) -> subprocess.CompletedProcess[str]:
    done = shell.aiowandb_heard(heard, *arguments, **environ)
    assert KEY not in done.stderr + done.stdout
    return done


@pytest.fixture
def dead_url() -> Iterator[str]:
    """A port that is in use and does not answer."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{unused.getsockname()[1]}"


class SilentHost:
    """Accepts connections and does not answer, until it is set to refuse them."""

    def __init__(self) -> None:
        self.refuses = threading.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await anyio.to_thread.run_sync(self.refuses.wait)
        await send({"type": "http.response.start", "status": 401, "headers": []})
        await send({"type": "http.response.body"})


@pytest.mark.parametrize(
    "arguments",
    [
        ("runs", "e/p"),
        ("history", "e/p/r", "--all"),
        ("append", "e/p/r"),
        ("export", "e/p", "out"),
        ("export", "e/p", "out", "--json"),
    ],
    ids=" ".join,
)
def test_a_server_that_does_not_answer_is_reported_meanwhile(
    tmp_path: Path, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(waits, "USUAL_S", 0.0)
    monkeypatch.setattr(reports, "FIRST_LINE_AFTER_S", 0.0)
    monkeypatch.setattr(reports, "POLL_S", 0.01)
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    host = SilentHost()

    def heard(said: str) -> None:
        if "no answer yet" in said:
            host.refuses.set()

    with serve_in_thread(host) as url:
        done = aiowandb(*arguments, "--base-url", url, heard=heard, WANDB_API_KEY=KEY)
    assert done.returncode == 1
    said = done.stdout if "--json" in arguments else done.stderr
    line = next(line for line in said.splitlines() if "no answer yet" in line)
    assert url.removeprefix("http://") in line
    if "--json" in arguments:
        assert {"event", "host", "since", "next_try", "until"} <= json.loads(line).keys()
    else:
        assert "giving up at" in line


def test_a_missing_key_is_an_error_that_says_where_to_set_one() -> None:
    done = aiowandb("runs", "e/p")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "WANDB_API_KEY" in done.stderr


def test_a_malformed_key_is_refused() -> None:
    done = aiowandb("runs", "e/p", WANDB_API_KEY="short")
    assert done.returncode == 2
    assert "has 5 characters" in done.stderr


@pytest.mark.parametrize("path", ["a/b/c/d", "", "a//b"])
def test_a_wrong_path_shows_the_right_form(path: str) -> None:
    done = aiowandb("runs", path, WANDB_API_KEY=KEY)
    assert done.returncode == 2
    assert "entity/project" in done.stderr


def test_a_server_that_is_not_there_is_named(dead_url: str) -> None:
    done = aiowandb("runs", "e/p", "--base-url", dead_url, WANDB_API_KEY=KEY)
    assert done.returncode == 1
    assert done.stderr.startswith("aiowandb: Could not connect to 127.0.0.1")
    assert done.stderr.count("\n") == 1


def test_a_filter_that_is_not_json_is_refused() -> None:
    done = aiowandb("runs", "e/p", "--filter", "{state: finished}", WANDB_API_KEY=KEY)
    assert done.returncode == 2
    assert "is not valid JSON" in done.stderr


def test_a_filter_with_a_number_that_cannot_be_sent_is_refused() -> None:
    done = aiowandb("runs", "e/p", "--filter", f'{{"config.id": {2**70}}}', WANDB_API_KEY=KEY)
    assert done.returncode == 2
    assert "exceeds 64-bit range" in done.stderr


def test_a_filter_that_cannot_be_parsed_shows_where() -> None:
    done = aiowandb("runs", "e/p", "--filter", "config.lr >", WANDB_API_KEY=KEY)
    assert done.returncode == 2
    assert "column 12: expected a value" in done.stderr


def test_an_unknown_command_lists_nothing_but_the_mistake() -> None:
    done = aiowandb("exprot")
    assert done.returncode == 2
    assert "No such command 'exprot'" in done.stderr


def test_a_missing_local_folder_is_not_created(tmp_path: Path) -> None:
    done = aiowandb("runs", "e/p", "--local", str(tmp_path / "nothing"))
    assert done.returncode == 2
    assert not (tmp_path / "nothing").exists()
