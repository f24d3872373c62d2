"""Disks that are really full: small ones in memory, and a limit for the files of this process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

_STEP = 4096


@contextmanager
def small_disk(path: Path, size: str) -> Iterator[Path]:
    """A file system of that size, mounted at the path; the test is skipped where none may be."""
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(path)]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no file system may be mounted here")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


@contextmanager
def filled(disk: Path, *, room: int = 0) -> Iterator[Callable[[], None]]:
    """No more room than that on the disk while the block runs, or until what is given is called."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        with suppress(OSError):
            while file.write(bytes(_STEP)) == _STEP:
                pass
        os.ftruncate(file.fileno(), max(0, file.tell() // _STEP * _STEP - room))

    def make_room() -> None:
        ballast.unlink(missing_ok=True)

    try:
        yield make_room
    finally:
        make_room()


@contextmanager
def file_limit(size: int) -> Iterator[None]:
    """No file of this process can become larger than that: a write is cut short there."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
