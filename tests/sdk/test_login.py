"""A key saved by one tool is found by the other."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from aiowandb import Api
from tests.sdk.conftest import Sdk

pytestmark = [pytest.mark.sdk, pytest.mark.slow]

OFFICIAL = """
import json, wandb
api = wandb.Api()
print(json.dumps([api.settings["base_url"], api.viewer.username]))
"""


def python(*arguments: str, stdin: str = "") -> str:
    done = subprocess.run(
        [sys.executable, *arguments], input=stdin, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(autouse=True)
def _outside_of_projects(monkeypatch: pytest.MonkeyPatch, sdk: Sdk) -> None:
    monkeypatch.chdir(sdk.folder)


def test_the_official_client_finds_the_key_and_the_host_that_login_kept(sdk: Sdk) -> None:
    python("-m", "aiowandb", "login", "--host", sdk.url, stdin=sdk.store.local_key)
    found = json.loads(python("-c", OFFICIAL).splitlines()[-1])
    assert found == [sdk.url, "local"]


def test_the_key_and_the_host_that_the_official_login_kept_are_found(sdk: Sdk, home: Path) -> None:
    python("-m", "wandb", "login", "--host", sdk.url, sdk.store.local_key)
    with Api() as api:
        assert (api.settings.base_url, api.viewer.username) == (sdk.url, "local")
        assert api.settings.credentials
        assert api.settings.credentials.source == str(home / ".netrc")
