"""One export at a time in a folder of this machine; the second one says who has it.

Where the file system has no locks, as NFS and Lustre may have none, a lease in files has
to do.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from aiowandb.export.folders.base import STATE_DIR, plain_errors, warn_once
from aiowandb.export.folders.lease import Holder, Lease, in_use, leased

_NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS}


@contextmanager
def locked(folder: Path) -> Iterator[Lease | None]:
    """Hold the folder while the block runs, by a lock of the operating system, which ends with us.

    What is given is None, or the lease that stands for the lock.
    """
    path = folder / STATE_DIR / "lock"
    with plain_errors(folder):
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not "w": that would wipe out the name of the holder.
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+b", buffering=0)
    with file:
        with plain_errors(folder):
            is_ours = _lock(file)
        if is_ours is None:
            warn_once(
                f"The file system of {folder} has no locks. A file stands for one: an export whose"
                " process sleeps for more than two minutes can be taken for one that has ended."
                " Do not export into this folder from two machines."
            )
            with leased(_SharedFiles(folder)) as lease:
                yield lease
            return
        if not is_ours:
            raise in_use(folder, Holder.read(file.read()))
        with suppress(OSError):  # it is only for people, and the disk may be full
            file.truncate()
            file.write(Holder.me().text)
        yield None


if sys.platform == "win32":
    import msvcrt

    _FAR_AWAY = 1 << 30  # what is locked cannot be read by others: lock beyond the text

    def _lock(file: BinaryIO) -> bool | None:
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

    def _lock(file: BinaryIO) -> bool | None:
        """Whether the lock is ours now; None if there are no locks."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return None
            raise
        return True


class _SharedFiles:
    """See `Leasable`: small files in a folder that several machines may have mounted."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def __str__(self) -> str:
        return str(self._root)

    def create(self, name: str, content: bytes) -> bool:
        with plain_errors(self._root / name):
            try:
                with (self._root / name).open("xb") as file:
                    file.write(content)
            except FileExistsError:
                return False
        return True

    def write(self, name: str, content: bytes) -> None:
        path = self._root / name
        with plain_errors(path):
            draft = path.with_name(f".{path.name}.{os.getpid()}")
            draft.write_bytes(content)
            draft.replace(path)

    def read(self, name: str) -> bytes:
        with plain_errors(self._root / name):
            try:
                return (self._root / name).read_bytes()
            except FileNotFoundError:
                return b""

    def remove(self, name: str) -> None:
        with plain_errors(self._root / name):
            (self._root / name).unlink(missing_ok=True)

    def files(self, folder: str) -> dict[str, int]:
        with plain_errors(self._root / folder):
            return dict.fromkeys(os.listdir(self._root / folder), 0)

    def age(self, name: str) -> float | None:
        path = self._root / name
        # By the clock of the machine that has the disk, which may not be this one.
        now = path.with_name(f".clock-{os.getpid()}-{time.monotonic_ns()}")
        with plain_errors(path):
            try:
                now.touch()
                return now.stat().st_mtime - path.stat().st_mtime
            except FileNotFoundError:
                return None
            finally:
                now.unlink(missing_ok=True)
