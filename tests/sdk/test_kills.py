"""The server is killed again and again while the real SDK logs: nothing is lost or doubled."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aiowandb_server import Store
from tests.sdk.conftest import Sdk
from tests.support.ports import free_port

pytestmark = [pytest.mark.sdk, pytest.mark.slow]

KILLS = 10
SERVE = """
import sys
from aiowandb_server import Store, create_app, serve
with Store.open(sys.argv[1]) as store:
    serve(create_app(store), port=int(sys.argv[2]))
"""
LOG = """
waits = {f"x_{kind}_retry_wait_{limit}_seconds": 0.3
         for kind in ("file_stream", "graphql", "file_transfer") for limit in ("min", "max")}
settings = wandb.Settings(x_file_stream_transmit_interval=0.1, **waits)
with wandb.init(project="killed", id=os.environ["ID"], settings=settings) as run:
    for x in range(400):
        run.log({"x": x, "text": "t" * 200})
        time.sleep(0.02)
"""


def start(data: Path, port: int) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(data), str(port)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("listening on ")
    return process


def test_every_row_survives_a_server_that_is_killed(tmp_path: Path) -> None:
    port = free_port()
    data, chance = tmp_path / "data", random.Random(3)
    server = start(data, port)
    with Store.open(data) as store:
        sdk = Sdk(f"http://127.0.0.1:{port}", store, tmp_path)
        writers = [sdk.start(LOG, ID=f"r{number}") for number in range(3)]
        try:
            for _ in range(KILLS):
                time.sleep(chance.uniform(0.1, 1.5))
                server.kill()
                server.communicate()
                server = start(data, port)
            for writer in writers:
                sdk.reported(writer)
            reported = sdk.run("""
            report(**{run.id: [run.state, [row["x"] for row in run.scan_history()]]
                    for run in Api().runs("local/killed")})
            """)
        finally:
            server.kill()
            server.communicate()
    assert reported == {f"r{number}": ["finished", list(range(400))] for number in range(3)}
