"""Servers, writers and exporters in their own processes and threads, to be killed."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import orjson

from aiowandb_server import RunChanges, Store

PROJECT = "local/p"
_SERVE = """
import sys
from aiowandb_server import Store, create_app, serve
with Store.open(sys.argv[1], crash_after=float("inf")) as store:
    serve(create_app(store), port=int(sys.argv[2]))
"""
_EXPORT = """
import sys
from aiowandb import Api
from aiowandb.export import pipeline
url, key, path, folder = sys.argv[1:]
pipeline.PART_ROWS = 300
with Api(key, base_url=url) as api:
    result = api.runs(path, order="+created_at").export(folder)
    assert not result.failed, result.failed
"""


class Server:
    """An embedded W&B in a process, always on the same port."""

    def __init__(self, data: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self._data = data
        self.url = f"http://127.0.0.1:{self._port}"
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-c", _SERVE, str(self._data), str(self._port)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline().startswith("listening on ")

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


def start_export(url: str, key: str, folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", _EXPORT, url, key, PROJECT, str(folder)]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


class Writer:
    """A script that logs to a run, and knows what W&B has acknowledged."""

    def __init__(self, server: Server, store: Store, name: str, *, pause: float = 0.02) -> None:
        project, _ = store.projects.ensure(*PROJECT.split("/"))
        self._pause = pause
        store.runs.upsert(project, name, RunChanges())
        self.name = name
        self.acknowledged = 0
        self._url = f"{server.url}/files/{PROJECT}/{name}/file_stream"
        self._key = store.local_key
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _write(self) -> None:
        with httpx.Client(auth=("api", self._key), timeout=5) as http:
            while not self._stop.wait(self._pause):
                lines = [
                    orjson.dumps({"_step": step, "_timestamp": step, "loss": 1 / (step + 1)})
                    for step in range(self.acknowledged, self.acknowledged + 3)
                ]
                chunk = {"offset": self.acknowledged, "content": [line.decode() for line in lines]}
                try:
                    answer = http.post(self._url, json={"files": {"wandb-history.jsonl": chunk}})
                except httpx.TransportError:
                    continue  # the server is dead, or died: the same rows go out again
                if answer.status_code == 200:
                    self.acknowledged += len(lines)
