"""Servers, writers and exporters in their own processes and threads, to be killed."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import httpx
import orjson

from aiowandb_server import RunChanges, Store
from tests.support import forked
from tests.support.ports import free_port

PROJECT = "local/p"
FORKS = get_context("forkserver")
# pytest is the main module of its workers, which each process would import.
FORKS.set_forkserver_preload(["pytest", forked.__name__])


def start(function: Callable[..., None], *arguments: Any) -> BaseProcess:
    """Carry out a function of `forked` in a process of its own."""
    process = FORKS.Process(target=forked.run, args=(dict(os.environ), function, *arguments))
    process.start()
    return process


class Server:
    """An embedded W&B in a process, always on the same port."""

    def __init__(self, data: Path) -> None:
        self._port = free_port()
        self._data = data
        self.url = f"http://127.0.0.1:{self._port}"
        self.start()

    def start(self) -> None:
        here, there = FORKS.Pipe(duplex=False)
        with here, there:
            self._process = start(forked.serve_store, self._data, self._port, there)
            there.close()  # or its end would never come here if the server cannot start
            assert here.recv() == self.url

    def kill(self) -> None:
        self._process.kill()
        self._process.join()


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
