"""A server on a port, and scripts that drive the real wandb SDK against it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from aiowandb.local import Store, create_app, serve_in_thread

# Scripts say what they found by calling `tell`; the last line of their output is that.
PRELUDE = """
import json, math, os, sys
import wandb
def tell(**facts):
    print("TOLD " + json.dumps(facts))
"""


@dataclass
class Sdk:
    """Runs scripts in a process of their own, with nothing of this machine's settings."""

    url: str
    store: Store
    folder: Path

    def environment(self, **more: str) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        return {
            **kept,
            "WANDB_BASE_URL": self.url,
            "WANDB_API_KEY": self.store.local_key,
            "WANDB_DIR": str(self.folder),
            "WANDB_CACHE_DIR": str(self.folder / "cache"),
            "WANDB_DATA_DIR": str(self.folder / "staging"),
            "WANDB_CONFIG_DIR": str(self.folder / "config"),
            "WANDB_SILENT": "true",
            **more,
        }

    def start(self, script: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", PRELUDE + textwrap.dedent(script)],
            env=self.environment(**environment),
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, script: str, *, exit_code: int = 0, **environment: str) -> dict[str, Any]:
        """What the script told, once it is done."""
        process = self.start(script, **environment)
        return self.told(process, exit_code=exit_code)

    def told(self, process: subprocess.Popen[str], *, exit_code: int = 0) -> dict[str, Any]:
        try:
            output, _ = process.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            process.kill()
            output, _ = process.communicate()
            pytest.fail(f"the script hangs; so far it said:\n{output}")
        assert process.returncode == exit_code, output
        told: dict[str, Any] = {}
        for line in output.splitlines():
            if line.startswith("TOLD "):
                told |= json.loads(line.removeprefix("TOLD "))
        return told

    def command(self, *arguments: str) -> str:
        """Run the `wandb` command line."""
        done = subprocess.run(
            [sys.executable, "-m", "wandb", *arguments],
            env=self.environment(WANDB_SILENT="false"),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def sdk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sdk]:
    folder = tmp_path_factory.mktemp("sdk")
    with Store.open(folder / "data") as store:
        app = create_app(store, history="parquet")
        with serve_in_thread(app) as url:
            yield Sdk(url, store, folder)
