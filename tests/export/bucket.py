"""A bucket of a real S3 server on loopback."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

from pyarrow import fs

from tests.support.ports import free_port


@contextmanager
def served_s3() -> Iterator[str]:
    """The server, in a process of its own; gives where it listens."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            _wait_for(port)
            yield f"127.0.0.1:{port}"
        finally:
            server.terminate()


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError("the S3 server does not come up")


class Bucket:
    """A bucket of the server, as seen by another client."""

    def __init__(self, endpoint: str) -> None:
        keys: dict[str, Any] = {"access_key": "me", "secret_key": "secret"}
        self.fs = fs.S3FileSystem(
            endpoint_override=endpoint,
            scheme="http",
            region="us-east-1",
            allow_bucket_creation=True,
            allow_bucket_deletion=True,
            **keys,
        )
        self.fs.create_dir("lake")
        where = {"endpoint_override": endpoint, "scheme": "http", "region": "us-east-1"}
        self.url = f"s3://me:secret@lake/wandb?{urlencode(where)}"

    def contents(self) -> dict[str, bytes]:
        """What readers of the lake find."""
        selector = fs.FileSelector("lake/wandb", recursive=True)
        return {
            info.path.removeprefix("lake/wandb/"): self.fs.open_input_file(info.path).read()
            for info in self.fs.get_file_info(selector)
            if info.type == fs.FileType.File and ".aiowandb-export" not in info.path
        }

    def state(self) -> list[str]:
        """The names of what exports keep for themselves."""
        folder = "lake/wandb/.aiowandb-export"
        selector = fs.FileSelector(folder, recursive=True, allow_not_found=True)
        return sorted(
            info.path.removeprefix(f"{folder}/")
            for info in self.fs.get_file_info(selector)
            if info.type == fs.FileType.File
        )

    def has(self, name: str) -> bool:
        found = self.fs.get_file_info(f"lake/wandb/{name}")
        return bool(found.type == fs.FileType.File)

    def read(self, name: str) -> bytes:
        with self.fs.open_input_file(f"lake/wandb/.aiowandb-export/{name}") as file:
            content: bytes = file.read()
            return content

    def write(self, name: str, content: bytes) -> None:
        with self.fs.open_output_stream(f"lake/wandb/.aiowandb-export/{name}") as file:
            file.write(content)
