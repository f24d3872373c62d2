"""A folder on this machine: files are written under another name, synced, and renamed.

A lock of the operating system lets only one export run at a time. If the file system has no
locks, which may be so on NFS and Lustre, a lease replaces it.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from aiowandb.atomic import is_unicode, sync_folder
from aiowandb.errors import ExportError, UsageError
from aiowandb.export.folders.appending import LocalGrowingFile, LocalLog, complete_lines
from aiowandb.export.folders.base import (
    STATE_DIR,
    plain_errors,
    read_errors,
    require_size_of_state,
    warn_once,
)
from aiowandb.export.folders.lease import Lease, LeaseHolder, in_use, leased
from aiowandb.symlinks import NO_FOLLOW, files_without_links, path_without_links, require_one_name
from aiowandb.trees import entries_of, make_folders, remove_tree, walk


class LocalFolder:
    """See `Folder`."""

    def __init__(self, root: Path) -> None:
        if not is_unicode(root):
            raise UsageError(f"The name of the folder {str(root)!r} is not valid Unicode.")
        self._root = root
        self._drafts = root / STATE_DIR / "drafts"
        self._lease: Lease | None = None

    def __str__(self) -> str:
        return str(self._root)

    @contextmanager
    def lock(self) -> Iterator[None]:
        with _lock_folder(self._root) as self._lease:
            self._path(f"{STATE_DIR}/drafts")
            with plain_errors(self._root):
                # Drafts of an export that was killed.
                shutil.rmtree(self._drafts, ignore_errors=True)
                make_folders(self._drafts)
            try:
                yield
            finally:
                self._lease = None

    def check(self) -> None:
        if self._lease:
            self._lease.check()

    def draft(self, name: str) -> Path:
        return self._drafts / name.replace("/", "-")

    def put(self, draft: Path, name: str) -> None:
        path = self._path(name)
        with plain_errors(path):
            with draft.open("r+b") as file:
                os.fsync(file.fileno())
            self.check()
            self._rename(draft, path)

    def move(self, name: str, to: str) -> None:
        path, new_path = self._path(name), self._path(to)
        with plain_errors(new_path):
            self.check()
            self._rename(path, new_path)

    def remove(self, name: str) -> None:
        path = self._path(name)
        with plain_errors(path):
            self.check()
            path.unlink(missing_ok=True)
            self._remove_if_empty(path.parent)

    def open(self, name: str) -> pa.NativeFile:
        path = self._path(name)
        try:
            return pa.OSFile(str(path), "r")
        except NotADirectoryError as error:
            raise ExportError(
                f"Cannot read {path}: a folder on the way to it is a file. Move that away."
            ) from error
        except OSError as error:
            if path.is_dir():  # pyarrow's error has no number
                raise ExportError(f"Cannot read {path}: it is a folder. Move it away.") from error
            raise

    def log(self, name: str, *, fresh: bool = False) -> LocalLog:
        return LocalLog(self._path(name), fresh=fresh, check=self.check)

    def read_log(self, name: str) -> bytes:
        path = self._path(name)
        with read_errors(path):
            try:
                require_size_of_state(path, path.stat().st_size)
                return complete_lines(path.read_bytes(), path)
            except FileNotFoundError:
                return b""

    def grow(self, name: str) -> LocalGrowingFile:
        return LocalGrowingFile(self._path(name))

    def size(self, name: str) -> int | None:
        path = self._path(name)
        with read_errors(path):
            try:
                return path.stat().st_size
            except FileNotFoundError:
                return None

    def remove_folder(self, folder: str) -> None:
        path = self._path(folder)
        with plain_errors(path):
            self.check()
            with suppress(FileNotFoundError):
                remove_tree(path)

    def files(self, folder: str, *, recursive: bool = False) -> dict[str, int]:
        path = self._path(folder)
        with plain_errors(path):
            return {
                name: entry.stat().st_size
                for name, entry in (walk(path) if recursive else entries_of(path))
                if entry.is_file(follow_symlinks=False)
            }

    def location(self, name: str) -> Path:
        return self._path(name)

    def url(self, name: str) -> str:
        path = self._path(name)
        if path.is_dir():
            files_without_links(path)  # other libraries would follow them
        return str(path)

    def _path(self, name: str) -> Path:
        return path_without_links(self._root, name)

    def _remove_if_empty(self, folder: Path) -> None:
        with suppress(OSError):  # it is not empty, or does not exist
            while folder != self._root:
                folder.rmdir()
                folder = folder.parent

    def _rename(self, path: Path, to: Path) -> None:
        make_folders(to.parent)
        path.replace(to)
        sync_folder(to.parent)


_LONGEST_HOLDER = 1 << 16
_NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS}


@contextmanager
def _lock_folder(folder: Path) -> Iterator[Lease | None]:
    """Lock the folder while the block runs; the operating system unlocks it if the process dies.

    The block gets None, or the lease that replaces the lock.
    """
    path = path_without_links(folder, f"{STATE_DIR}/lock")
    with plain_errors(folder):
        make_folders(path.parent)
        # Not "w", which would delete the name of the holder.
        file = os.fdopen(
            os.open(path, os.O_RDWR | os.O_CREAT | NO_FOLLOW, 0o644), "r+b", buffering=0
        )
    with _closing(file):
        with plain_errors(folder):
            is_ours = _lock(file)
        if is_ours is None:
            warn_once(
                f"The file system of {folder} has no locks, so a file replaces them: an export"
                " whose machine sleeps for more than two minutes may seem to have ended."
                " Do not export into this folder from two machines."
            )
            with leased(_SharedFiles(folder)) as lease:
                yield lease
            return
        if not is_ours:
            raise in_use(folder, LeaseHolder.read(file.read(_LONGEST_HOLDER)))
        require_one_name(path, os.fstat(file.fileno()))
        with suppress(OSError):  # only used for messages, and the disk may be full
            file.truncate()
            file.write(LeaseHolder.me().text)
        yield None


@contextmanager
def _closing(file: BinaryIO) -> Iterator[None]:
    """Close the lock, which unlocks it. Network file systems report then that a disk is full."""
    try:
        yield
    finally:
        with suppress(OSError):
            file.close()


if sys.platform == "win32":
    import msvcrt

    _LOCKED_BYTE = 1 << 30  # beyond the text, because locked bytes cannot be read

    def _lock(file: BinaryIO) -> bool | None:
        file.seek(_LOCKED_BYTE)
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
        """Whether this process has got the lock; None if the file system has no locks."""
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
            draft.unlink(missing_ok=True)
            with draft.open("xb") as file:
                file.write(content)
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
        # By the clock of the machine with the disk, which may be another one.
        now = path.with_name(f".clock-{os.getpid()}-{time.monotonic_ns()}")
        with plain_errors(path):
            try:
                now.touch()
                return now.stat().st_mtime - path.stat().st_mtime
            except FileNotFoundError:
                return None
            finally:
                now.unlink(missing_ok=True)
