"""A server on a port, and scripts that drive the real wandb SDK against it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from aiowandb_server import Store, create_app, serve_in_thread

# Scripts pass on what they found by calling `report`.
PRELUDE = """
import json, math, os, pathlib, subprocess, sys, time
import wandb
from wandb import Api, Artifact, CommError

def report(**facts):
    print("REPORTED " + json.dumps(facts))
"""
# As it exits, the official client tells its service to end and waits for it. The service misses
# this if it is just then answering to what the client's finalizers asked, and both stay for ever.
ENDING = """
wandb.finish()
sys.stdout.flush()
os._exit(0)
"""
TIMEOUT_S = 300


@dataclass(frozen=True)
class Sdk:
    """Runs scripts in a process of their own, with nothing of this machine's settings."""

    url: str
    store: Store
    folder: Path

    def run(self, script: str, *, exit_code: int = 0, **environment: str) -> dict[str, Any]:
        """What the script reported, once it is done."""
        return self.reported(self.start(script, **environment), exit_code=exit_code)

    def start(self, script: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", PRELUDE + textwrap.dedent(script) + ENDING],
            env=self.environment(**environment),
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def reported(self, process: subprocess.Popen[str], *, exit_code: int = 0) -> dict[str, Any]:
        try:
            output, _ = process.communicate(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            output, _ = process.communicate()
            pytest.fail(f"the script hangs; so far it said:\n{output}")
        assert process.returncode == exit_code, output
        reported: dict[str, Any] = {}
        for line in output.splitlines():
            if line.startswith("REPORTED "):
                reported |= json.loads(line.removeprefix("REPORTED "))
        return reported

    def command(self, *arguments: str, **environment: str) -> str:
        """What the `wandb` command says."""
        done = subprocess.run(
            [sys.executable, "-m", "wandb", *arguments],
            env=self.environment(**{"WANDB_SILENT": "false", **environment}),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def environment(self, **more: str) -> dict[str, str]:
        return {
            # Agents start `python`, which must be this one.
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(self.folder),
            "WANDB_BASE_URL": self.url,
            "WANDB_API_KEY": self.store.local_key,
            "WANDB_CACHE_DIR": str(self.folder / "cache"),
            "WANDB_DATA_DIR": str(self.folder / "staging"),
            "WANDB_SILENT": "true",
            **more,
        }


@contextmanager
def served(folder: Path, **settings: Any) -> Iterator[Sdk]:
    """The SDK beside an embedded W&B with these settings of `create_app`."""
    with (
        Store.open(folder / "data") as store,
        serve_in_thread(create_app(store, **settings)) as url,
    ):
        yield Sdk(url, store, folder)


@pytest.fixture(scope="module")
def sdk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sdk]:
    with served(tmp_path_factory.mktemp("sdk")) as sdk:
        yield sdk
