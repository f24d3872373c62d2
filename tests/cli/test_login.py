"""`aiowandb login` and `status`: keys typed, piped, saved and found, and never shown."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from aiowandb import Api, AsyncApi, AuthenticationError
from tests.conftest import MEASURING
from tests.support import shell
from tests.support.sample import RUNS, Sample

WRONG_KEY = "w" * 40


def aiowandb(*arguments: str, stdin: str = "", **environ: str) -> CompletedProcess[str]:
    done = shell.aiowandb(*arguments, stdin=stdin, **environ)
    assert WRONG_KEY not in done.stdout + done.stderr
    return done


def typing(key: str, *arguments: str) -> tuple[int, str]:
    """Exit code and all that a person sees who types the key when asked for it."""
    person, terminal = os.openpty()
    command = [sys.executable, "-m", "aiowandb", *arguments]
    with subprocess.Popen(
        command,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
        env=os.environ | MEASURING,
    ) as process:
        os.close(terminal)
        shown = b""
        try:
            while chunk := os.read(person, 1024):
                shown += chunk
                if b"API key" in shown and key:
                    os.write(person, f"{key}\n".encode())
                    key = ""
        except OSError:  # so ends a terminal whose program has ended
            pass
        os.close(person)
        return process.wait(timeout=60), shown.decode()


def test_a_typed_key_is_tried_and_kept_unseen(sample: Sample, url: str, home: Path) -> None:
    code, shown = typing(sample.key, "login", "--host", url)
    assert code == 0
    assert f"Logged in to {url} as local" in shown
    assert sample.key not in shown
    assert stat.S_IMODE((home / ".netrc").stat().st_mode) == 0o600
    settings = (home / ".config" / "wandb" / "settings").read_text()
    assert settings == f"[default]\nbase_url = {url}\n"
    with Api() as api:  # finds the host and the key by itself
        assert api.runs(sample.path).count() == RUNS


def test_a_piped_key_is_added_to_netrc(sample: Sample, url: str, home: Path) -> None:
    elsewhere = home / "dotfiles-netrc"
    elsewhere.write_text("# mine\nmachine other login me password mine\n")
    (home / ".netrc").symlink_to(elsewhere)
    done = aiowandb("login", stdin=f"{sample.key}\n", WANDB_BASE_URL=url)
    assert (done.returncode, done.stderr) == (0, "")
    assert sample.key not in done.stdout
    text = elsewhere.read_text()
    assert text.startswith("# mine\nmachine other login me password mine\nmachine 127.0.0.1:")
    assert (home / ".netrc").is_symlink()
    assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o600
    assert not (home / ".config").exists()


def test_a_key_that_the_server_refuses_is_not_kept(url: str, home: Path) -> None:
    done = aiowandb("login", "--host", url, stdin=WRONG_KEY)
    assert done.returncode == 1
    assert "401" in done.stderr
    assert f"the API key from stdin that ends in {WRONG_KEY[-4:]}," in done.stderr
    assert f"get a key at {url}/authorize" in done.stderr
    assert list(home.iterdir()) == []
    assert aiowandb("login", "--host", url, "--no-verify", stdin=WRONG_KEY).returncode == 0
    assert (home / ".netrc").exists()


def test_an_invalid_key_is_refused(url: str, home: Path) -> None:
    done = aiowandb("login", "--host", url, stdin="short\n")
    assert done.returncode == 2
    assert "from stdin has 5 characters" in done.stderr
    assert "from stdin is empty" in aiowandb("login", "--host", url).stderr
    assert list(home.iterdir()) == []


def test_a_logged_in_user_is_asked_again_only_with_relogin(sample: Sample, url: str) -> None:
    assert aiowandb("login", "--host", url, stdin=sample.key).returncode == 0
    code, shown = typing("", "login")
    assert code == 0
    assert "Using the key from" in shown
    code, shown = typing(WRONG_KEY, "login", "--relogin")
    assert code == 1
    assert WRONG_KEY not in shown
    assert aiowandb("status").returncode == 0


def test_a_key_in_the_environment_is_reported_to_take_precedence(sample: Sample, url: str) -> None:
    done = aiowandb("login", "--host", url, stdin=sample.key, WANDB_API_KEY=sample.key)
    assert done.returncode == 0
    assert "WANDB_API_KEY is set and takes precedence over netrc" in done.stderr


def test_status_shows_the_user_the_server_and_the_source_of_the_key(
    sample: Sample, url: str
) -> None:
    done = aiowandb("status", "--base-url", url, "--format", "json", WANDB_API_KEY=sample.key)
    said = json.loads(done.stdout)
    assert (said["host"], said["key from"], said["user"]) == (url, "WANDB_API_KEY", "local")
    assert sample.key not in done.stdout


@pytest.mark.parametrize(("environ", "code"), [({}, 2), ({"WANDB_API_KEY": WRONG_KEY}, 1)])
def test_status_fails_where_nothing_could_be_read(
    url: str, environ: dict[str, str], code: int
) -> None:
    done = aiowandb("status", "--base-url", url, **environ)
    assert done.returncode == code
    assert url in done.stdout
    assert done.stderr.count("\n") == 1


@pytest.mark.anyio
async def test_both_clients_name_the_key_that_was_refused(url: str) -> None:
    said = (
        f"the API key from the argument api_key that ends in wwww, .*get a key at {url}/authorize"
    )
    async with AsyncApi(WRONG_KEY, base_url=url) as api:
        with pytest.raises(AuthenticationError, match=said):
            await api.viewer()
    with (
        Api(WRONG_KEY, base_url=url) as blocking,
        pytest.raises(AuthenticationError, match=said),
    ):
        _ = blocking.viewer
