"""The store's files on disk besides the database, among them uploaded content (blobs).

Only the owner can read the data folder; a file gets its name once it is completely on disk.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import os
import secrets
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import xxhash

from aiowandb_server.store.own_files import path_in

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path


# What file systems answer that cannot sync a folder.
_NO_SYNC = frozenset({errno.EBADF, errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})


def make_private_folder(folder: Path, own: Collection[str] | None = None) -> None:
    """Create a folder that only its owner can enter.

    If files are in it that do not have one of the names `own`, it keeps the mode that it has.
    """
    missing = [folder]
    while not missing[-1].parent.exists():
        missing.append(missing[-1].parent)
    for path in reversed(missing):
        path.mkdir(mode=0o700, exist_ok=True)
    if own is None or not set(os.listdir(folder)) - set(own):
        restrict_to_owner(folder)


def restrict_to_owner(path: Path) -> None:
    """Remove the permissions of everyone but the owner."""
    mode = path.stat().st_mode
    if mode & 0o077:
        # It belongs to another user, who decides.
        with suppress(PermissionError):
            path.chmod(mode & 0o700)


@contextmanager
def complete_file(path: Path) -> Iterator[Path]:
    """A temporary path to write to, which is synced and renamed to `path` after the block."""
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        _publish(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _publish(temporary: Path, path: Path) -> None:
    """Rename a complete file to `path`, and sync the file and its folder."""
    with temporary.open("r+b") as file:  # Windows syncs only what may be written
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Windows cannot do that, and some network file systems neither: their server decides."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Blob:
    """Content on disk. Both digests are base64, as in W&B."""

    token: str
    size: int
    md5: str
    xxh128: str


class BlobWriter:
    """Writes content, which becomes a blob with `commit`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._temporary = path.with_name(f"{path.name}.tmp")
        self._file = self._temporary.open("wb")
        self._size = 0
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._xxh128 = xxhash.xxh128()

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self._md5.update(data)
        self._xxh128.update(data)
        self._size += len(data)

    def commit(self) -> Blob:
        self._file.close()
        _publish(self._temporary, self._path)
        md5, xxh128 = (
            base64.b64encode(found.digest()).decode() for found in (self._md5, self._xxh128)
        )
        return Blob(self._path.name, self._size, md5, xxh128)

    def close(self) -> None:
        """Discard the content, unless it was committed."""
        try:
            self._file.close()
        finally:
            self._temporary.unlink(missing_ok=True)


class Blobs:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        make_private_folder(folder)

    def writer(self) -> BlobWriter:
        return BlobWriter(self.path(secrets.token_hex(16)))

    def add(self, data: bytes) -> Blob:
        with closing(self.writer()) as writer:
            writer.write(data)
            return writer.commit()

    def path(self, token: str) -> Path:
        return path_in(self._folder, token)

    def discard(self, blob: Blob) -> None:
        self.path(blob.token).unlink(missing_ok=True)
