"""The server process: how it starts and stops, and what a kill leaves behind."""

from __future__ import annotations

import json
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from aiowandb_server import Store, create_app, serve, serve_in_thread
from aiowandb_server import server as serving

SERVE = """
import sys
from aiowandb_server import Store, create_app, serve
with Store.open(sys.argv[1]) as store:
    serve(create_app(store), port=0)
"""


@contextmanager
def server(data: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server process and its URL."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(data)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("listening on http://127.0.0.1:")
        yield process, line.removeprefix("listening on ").strip()
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_listens_and_stops_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    with server(tmp_path) as (process, url):
        assert httpx.get(f"{url}/healthz").text == "ok"
        process.send_signal(number)
        assert process.wait(60) == 0


def test_an_upload_that_stalls_does_not_keep_it_from_stopping(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(serving, "_GRACE_S", 0.1)
    with Store.open(tmp_path) as store:
        app = create_app(store, keys=["a-key"])
        with serve_in_thread(app) as url:
            client = socket.create_connection((httpx.URL(url).host, httpx.URL(url).port or 0))
            client.sendall(
                b"PUT /files/local/p/r/f HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                b"Authorization: Bearer a-key\r\nContent-Length: 9\r\n\r\nbegin"
            )
            while not app.requests:
                threading.Event().wait(0.01)
        client.close()
    assert "Traceback" not in capfd.readouterr().err


def test_a_request_under_way_is_answered_before_it_stops(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        app = create_app(store, latency=0.3)
        answers: list[int] = []
        with serve_in_thread(app) as url:
            thread = threading.Thread(
                target=lambda: answers.append(httpx.get(f"{url}/healthz").status_code)
            )
            thread.start()
            while not app.requests:
                thread.join(0.01)
        thread.join()
    assert answers == [200]


def test_a_port_in_use_is_reported_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, Store.open(tmp_path) as store:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}"):
            serve(create_app(store), port=port)


def test_a_server_that_cannot_start_is_an_error_and_not_waited_for() -> None:
    app: Any = "no_module_of_this_name:app"  # uvicorn imports what is given as text, and fails
    with pytest.raises(SystemExit), serve_in_thread(app):
        pytest.fail("it started")


def acknowledged(url: str, key: str, name: str) -> int:
    """Send rows of a run one by one until the server is gone; gives how many were acknowledged."""
    done = 0
    with httpx.Client(auth=("api", key)) as http:
        while True:
            files = {"wandb-history.jsonl": {"offset": done, "content": [row(name, done)]}}
            finished = {"complete": True, "exitcode": 0} if done % 7 == 6 else {}
            try:
                answer = http.post(
                    f"{url}/files/local/p/{name}/file_stream", json={"files": files, **finished}
                )
            except httpx.TransportError:
                return done
            assert answer.status_code == 200
            done += 1


def row(name: str, step: int) -> str:
    return json.dumps({"_step": step, "x": f"{name}-{step}"})


@pytest.mark.slow
def test_nothing_acknowledged_is_lost_when_the_server_is_killed(tmp_path: Path) -> None:
    chance, rounds, writers = random.Random(1), 12, 3
    names = [f"r{number}" for number in range(rounds * writers)]
    with Store.open(tmp_path) as store:
        project, _ = store.projects.ensure("local", "p")
        for name in names:
            store.runs.upsert(project, name)
        key = store.local_key
    counts: list[int] = []
    for start in range(0, len(names), writers):
        with server(tmp_path) as (process, url), ThreadPoolExecutor() as pool:
            sending = pool.map(partial(acknowledged, url, key), names[start : start + writers])
            threading.Timer(chance.uniform(0.02, 0.5), process.kill).start()
            counts += sending
    assert sum(counts) > 50
    with Store.open(tmp_path) as store:
        for name, count in zip(names, counts, strict=True):
            run = store.runs.get(project, name)
            assert run is not None
            lines = store.history.window(run, 0, 10**9, 10**9)
            # The row under way at the kill may or may not have made it.
            assert len(lines) in (count, count + 1)
            assert lines == [row(name, step) for step in range(len(lines))]


@pytest.mark.slow
def test_a_full_disk_is_answered_and_loses_nothing(tmp_path: Path) -> None:
    """The process may write no file larger than this: SQLite sees a disk that is full."""
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000,) * 2)\n"
    ignored = "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    with Store.open(tmp_path) as store:
        project, _ = store.projects.ensure("local", "p")
        store.runs.upsert(project, "r")
        key = store.local_key
    process = subprocess.Popen(
        [sys.executable, "-c", limited + ignored + SERVE, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().removeprefix("listening on ").strip()
        stored = 0
        with httpx.Client(auth=("api", key)) as http:
            for number in range(200):
                line = json.dumps({"_step": number, "text": "x" * 50_000})
                files = {"wandb-history.jsonl": {"offset": stored, "content": [line]}}
                answer = http.post(f"{url}/files/local/p/r/file_stream", json={"files": files})
                if answer.status_code != 200:
                    break
                stored += 1
            assert answer.status_code == 503
            assert "cannot answer now" in answer.json()["error"]
            upload = http.put(f"{url}/files/local/p/r/large.bin", content=b"x" * 5_000_000)
            assert upload.status_code == 507
    finally:
        process.kill()
        process.communicate()
    with Store.open(tmp_path) as store:
        run = store.runs.get(project, "r")
        assert run is not None
        assert len(store.history.window(run, 0, 1000, 1000)) == stored > 0
        assert store.files.get(run, "large.bin") is None
