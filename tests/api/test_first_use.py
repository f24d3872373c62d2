"""First uses import modules and open files without blocking the event loop."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.sample import Sample

# Told by what is imported while a task of the loop runs: time says nothing on a busy machine.
SCRIPT = """
import ssl
import sys
import anyio
from aiowandb import AsyncApi
from aiowandb.concurrency.background import current_loop

HEAVY = {{"numpy", "pandas", "pyarrow", "httpcore", "starlette", "graphql", "aiowandb_server"}}
imported_in_the_loop = []
done_in_the_loop = []

def audit(event, args):
    if event == "sqlite3.connect" and current_loop() is not None:
        done_in_the_loop.append(event)

sys.addaudithook(audit)
read_certificates = ssl.SSLContext.load_verify_locations

def load_verify_locations(self, *args, **kwargs):
    if current_loop() is not None:
        done_in_the_loop.append("load_verify_locations")
    return read_certificates(self, *args, **kwargs)

ssl.SSLContext.load_verify_locations = load_verify_locations

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HEAVY and current_loop() is not None:
            imported_in_the_loop.append(name)

sys.meta_path.insert(0, Finder())

async def export(runs, api):
    await runs.export({folder!r})

async def table(runs, api):
    await runs.to_arrow()

async def rows(runs, api):
    async for row in (await runs[0]).scan_history():
        break

async def batches(runs, api):
    async for batch in (await runs[0]).scan_history_batches(nested="json"):
        break

async def system_metrics(runs, api):
    async for batch in (await runs[0]).scan_history_batches(stream="system"):
        break

async def sample_of_keys(runs, api):
    await (await runs[0]).history(keys=["loss", "nested*"], pandas=False)

async def many(runs, api):
    async for run, batch in api.scan_histories(runs):
        break

async def viewer(runs, api):
    await api.viewer()

async def local(runs, api):
    async with AsyncApi.local({store!r}) as api:
        await api.viewer()

async def main():
    async with AsyncApi() as api:
        assert HEAVY.isdisjoint(sys.modules)
        await globals()[sys.argv[1]](api.runs({path!r}), api)

anyio.run(main)
print(*imported_in_the_loop[:3], *done_in_the_loop)
"""


@pytest.mark.parametrize(
    "what",
    [
        "export",
        "sample_of_keys",
        *(
            pytest.param(what, marks=pytest.mark.slow)
            for what in ("local", "rows", "table", "batches", "system_metrics", "many", "viewer")
        ),
    ],
)
def test_the_first_use_does_nothing_long_in_the_event_loop(
    tmp_path: Path, url: str, sample: Sample, what: str
) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        SCRIPT.format(path=sample.path, folder=str(tmp_path / "out"), store=str(tmp_path / "store"))
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", script, what],
        capture_output=True,
        text=True,
        env=os.environ | {"WANDB_BASE_URL": url, "WANDB_API_KEY": sample.key},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "\n", "")
