"""One export at a time in a folder of this machine; the second says who holds it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from aiowandb.export.folders.base import plain_errors
from aiowandb.export.folders.holder import Holder, in_use


@contextmanager
def locked(folder: Path, path: Path) -> Iterator[None]:
    """Hold the lock while the block runs. It is the operating system's, and ends with us."""
    with plain_errors(folder):
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not "w": that would wipe out the name of the holder.
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+b")
    with file:
        if not _lock(file):
            raise in_use(folder, Holder.read(file.read()))
        file.truncate()
        file.write(Holder.me().text)
        file.flush()
        yield


if sys.platform == "win32":
    import msvcrt

    _FAR_AWAY = 1 << 30  # what is locked cannot be read by others: lock beyond the text

    def _lock(file: BinaryIO) -> bool:
        file.seek(_FAR_AWAY)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        finally:
            file.seek(0)
        return True

else:
    import fcntl

    def _lock(file: BinaryIO) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
