"""One export at a time in a folder; the second says who holds it."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import msgspec

from aiowandb.errors import ExportError
from aiowandb.export.folder import WORKPLACE, plain_errors


class Holder(msgspec.Struct, frozen=True):
    """Who is exporting into a folder."""

    pid: int
    host: str
    since: datetime


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold the folder while the block runs. The lock is the operating system's: it ends with us."""
    path = folder / WORKPLACE / "lock"
    with plain_errors(folder):
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not "w": that would wipe out the name of the holder.
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+b")
    with file:
        if not _lock(file):
            raise ExportError(f"{folder} is being exported into {_holder(file)}: wait for that.")
        me = Holder(os.getpid(), socket.gethostname(), datetime.now(UTC).replace(microsecond=0))
        file.truncate()
        file.write(msgspec.json.encode(me))
        file.flush()
        yield


def _holder(file: BinaryIO) -> str:
    try:
        holder = msgspec.json.decode(file.read(), type=Holder)
    except msgspec.MsgspecError:
        return "by another process"  # which has not yet written its name
    return f"by process {holder.pid} on {holder.host} since {holder.since:%Y-%m-%d %H:%M:%S} UTC"


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
