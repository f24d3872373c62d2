"""`aiowandb open` and `aiowandb serve --no-pages`: the URLs of pages."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from aiowandb.cli import cli
from aiowandb.errors import UsageError

SERVE = [sys.executable, "-m", "aiowandb", "serve", "--port", "0", "--data"]


@contextmanager
def served(data: Path, *options: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The URL of a server process, and the process."""
    command = [*SERVE, str(data), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().removeprefix("listening on ").strip(), server
        finally:
            server.terminate()


def open_page(*arguments: str) -> str:
    done = CliRunner().invoke(cli, ["open", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output.strip()


def test_the_printed_links_log_a_browser_in_while_the_server_runs(tmp_path: Path) -> None:
    with served(tmp_path) as (url, server):
        assert server.stdout is not None
        printed = server.stdout.readline().removeprefix("open ").strip()
        for link, path in (
            (printed, "/"),
            (open_page("local/sample", "--local", str(tmp_path)), "/local/sample"),
            (open_page("local/sample/r1", "--local", str(tmp_path)), "/local/sample/runs/r1"),
        ):
            with httpx.Client() as browser:
                address, token = link.split("?token=")
                assert address == url + path
                assert browser.post(f"{url}/_pages/login", json={"token": token}).is_success
    with pytest.raises(UsageError, match="aiowandb serve --data"):
        open_page("local/sample", "--local", str(tmp_path))


@pytest.mark.slow
def test_no_pages_serves_the_api_to_keys_of_a_file_within_a_limit_of_memory(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"{'1' * 40}\n\n {'2' * 40}\n")
    query = {"query": "{viewer{username}}"}
    options = ("--no-pages", "--max-memory", "0.1GB", "--key-file", str(keys))
    with served(tmp_path, *options) as (url, _):
        for key, status in (("1" * 40, 200), ("2" * 40, 200), ("3" * 40, 401), ("", 401)):
            answer = httpx.post(f"{url}/graphql", json=query, auth=("api", key))
            assert answer.status_code == status
        assert httpx.get(f"{url}/").status_code == 404
        large = {**query, "variables": {"x": "x" * 40_000_000}}
        refused = httpx.post(f"{url}/graphql", json=large, auth=("api", "1" * 40), timeout=60)
        assert refused.status_code == 413
        assert "more than the 76 MB of memory" in refused.text
        assert httpx.get(f"{url}/healthz").text == "ok"
        with pytest.raises(UsageError, match="aiowandb serve --data"):
            open_page("local/sample", "--local", str(tmp_path))


def test_a_file_without_keys_is_wrong(tmp_path: Path) -> None:
    for content in (b"", b" \n\n", b"\xff\xfe"):
        (tmp_path / "keys").write_bytes(content)
        done = CliRunner().invoke(cli, ["serve", "--key-file", str(tmp_path / "keys")])
        assert done.exit_code == 2
        assert "has no API key" in done.output


@pytest.mark.parametrize(
    ("path", "address"),
    [
        ("me/mnist", "https://wandb.ai/me/mnist"),
        ("me/mnist/abc", "https://wandb.ai/me/mnist/runs/abc"),
        ("https://wandb.ai/me/mnist/runs/abc/logs", "https://wandb.ai/me/mnist/runs/abc"),
        ("me/a b", "https://wandb.ai/me/a%20b"),
    ],
)
def test_elsewhere_the_address_is_that_of_the_page(
    path: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    assert open_page(path, "--base-url", "https://api.wandb.ai") == address
