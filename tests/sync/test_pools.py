"""Pools of processes: what goes in, what comes out, and Ctrl-C."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import socket
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import httpx
import pytest

from aiowandb import Api, CommError, ConnectError, NotFoundError, RetryPolicy, RowError
from aiowandb.filters import config, tag
from tests.support.ports import free_port
from tests.support.sample import ROWS, RUNS, Sample

METHODS = ["fork", "forkserver", "spawn"]


def test_what_a_client_returns_can_be_sent_to_another_process(
    sample: Sample, tmp_path: Path
) -> None:
    events: list[object] = []
    with Api.local(sample.folder) as api:
        runs = api.runs(sample.path)
        run = runs[0]
        plan = runs.plan_export(tmp_path / "out")
        result = runs.export(tmp_path / "out", on_event=events.append)
        results = [
            *(
                plan,
                result,
                events,
                api.viewer,
                api.traffic,
                run.ref,
                run.path,
                run.user,
            ),
            *(run.config, dict(run.summary), run.metadata, list(run.console_logs())),
            *(list(run.scan_history())[:3], run.history_keys, run.created_at),
            *((config("lr") > 0.1) & (tag == "best"), RetryPolicy()),
        ]
    for each in results:
        assert pickle.loads(pickle.dumps(each)) == each


def test_all_processes_of_a_pool_wait_differently_before_they_try_again() -> None:
    data = pickle.dumps(RetryPolicy())
    assert b"mt19937" not in data.lower()
    assert len(data) < 500  # the state of a generator has 2,500


def fail(folder: Path, name: str, nobody: str) -> None:
    """The work of a pool, which raises one error or another."""
    if name == "not found":
        with Api.local(folder) as api:
            api.run("local/sample/nothing")
    if name == "no connection":
        with Api("k" * 40, base_url=nobody, retry=RetryPolicy(random=float)) as api:
            api.run("e/p/r")
    raise RowError("a row", step=3, key="loss", value="x")


def export(folder: Path, path: str, into: Path) -> object:
    with Api.local(folder) as api:
        return api.runs(path).export(into)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_results_and_errors_come_out_of_a_pool_as_they_were(
    sample: Sample, tmp_path: Path, method: str
) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    context = multiprocessing.get_context(method)
    # The client that is open here is of no use there, and no hindrance.
    with Api.local(sample.folder) as api, ProcessPoolExecutor(1, context) as pool:
        assert api.runs(sample.path).count() == RUNS
        result = pool.submit(export, sample.folder, sample.path, tmp_path / "out").result(60)
        assert getattr(result, "rows", None) == RUNS * ROWS
        errors: list[BaseException | None] = [
            pool.submit(fail, sample.folder, name, nobody).exception(60)
            for name in ("not found", "no connection", "row")
        ]
    missing, broken, row = errors
    assert isinstance(missing, NotFoundError)
    assert str(missing) == "Could not find run local/sample/nothing."
    assert isinstance(broken, ConnectError)
    assert broken.operation == "Run"
    assert isinstance(broken.exc, httpx.ConnectError)
    assert "Authorization" not in broken.exc.request.headers
    assert isinstance(row, RowError)
    assert (row.step, row.key, row.value) == (3, "loss", "x")
    assert not isinstance(row, CommError)


_WAITING = """
import multiprocessing, sys
from aiowandb import Api

def wait(port):
    with Api("k" * 40, base_url=f"http://127.0.0.1:{port}", timeout=600) as api:
        return api.run("e/p/r").name

if __name__ == "__main__":
    with multiprocessing.get_context(sys.argv[1]).Pool(2) as pool:
        pool.map(wait, [sys.argv[2]] * 2)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "killpg"), reason="Ctrl-C for a group of processes")
@pytest.mark.parametrize("method", METHODS)
def test_ctrl_c_ends_a_pool_that_waits_for_an_answer(tmp_path: Path, method: str) -> None:
    script = tmp_path / "pool.py"
    script.write_text(_WAITING)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = str(silent.getsockname()[1])
        command = [sys.executable, str(script), method, port]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True)
        connections = [silent.accept()[0] for _ in range(2)]
        requests = [connection.recv(1000) for connection in connections]
        assert all(request.startswith(b"POST /graphql") for request in requests)
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
        assert process.returncode in (-signal.SIGINT, 1)
        assert said.rstrip().endswith(b"KeyboardInterrupt")
        for connection in connections:
            with connection:
                connection.settimeout(60)
                while connection.recv(1000):
                    pass  # until it is closed: no process is left
