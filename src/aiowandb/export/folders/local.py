"""A folder on this machine: files are written beside, made durable, and renamed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow as pa

from aiowandb.atomic import sync_folder
from aiowandb.export.folders.appending import LocalGrowingFile, LocalLog
from aiowandb.export.folders.base import STATE_DIR, plain_errors
from aiowandb.export.folders.lease import Lease
from aiowandb.export.folders.lock import locked


class LocalFolder:
    """See `Folder`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._drafts = root / STATE_DIR / "drafts"
        self._lease: Lease | None = None

    def __str__(self) -> str:
        return str(self._root)

    @contextmanager
    def lock(self) -> Iterator[None]:
        with locked(self._root) as self._lease:
            with plain_errors(self._root):
                # What a killed export was writing.
                shutil.rmtree(self._drafts, ignore_errors=True)
                self._drafts.mkdir(parents=True)
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
        with plain_errors(self._root / name):
            with draft.open("r+b") as file:
                os.fsync(file.fileno())
            self.check()
            self._rename(draft, self._root / name)

    def move(self, name: str, to: str) -> None:
        with plain_errors(self._root / to):
            self.check()
            self._rename(self._root / name, self._root / to)

    def remove(self, name: str) -> None:
        with plain_errors(self._root / name):
            self.check()
            (self._root / name).unlink(missing_ok=True)
            self._remove_if_empty((self._root / name).parent)

    def open(self, name: str) -> pa.NativeFile:
        return pa.OSFile(str(self._root / name))

    def log(self, name: str, *, fresh: bool = False) -> LocalLog:
        return LocalLog(self._root / name, fresh=fresh, check=self.check)

    def grow(self, name: str) -> LocalGrowingFile:
        return LocalGrowingFile(self._root / name)

    def size(self, name: str) -> int | None:
        try:
            return (self._root / name).stat().st_size
        except FileNotFoundError:
            return None

    def remove_folder(self, folder: str) -> None:
        with plain_errors(self._root / folder):
            self.check()
            with suppress(FileNotFoundError):
                shutil.rmtree(self._root / folder)

    def files(self, folder: str, *, recursive: bool = False) -> dict[str, int]:
        with plain_errors(self._root / folder):
            return dict(_files(self._root / folder, "", recursive))

    def location(self, name: str) -> Path:
        return self._root / name

    def url(self, name: str) -> str:
        return str(self._root / name)

    def _remove_if_empty(self, folder: Path) -> None:
        with suppress(OSError):  # it is not empty, or not there
            while folder != self._root:
                folder.rmdir()
                folder = folder.parent

    def _rename(self, path: Path, to: Path) -> None:
        to.parent.mkdir(parents=True, exist_ok=True)
        path.replace(to)
        sync_folder(to.parent)


def _files(folder: Path, prefix: str, recursive: bool) -> Iterator[tuple[str, int]]:
    try:
        entries = os.scandir(folder)
    except FileNotFoundError:
        return
    with entries:
        for entry in entries:
            if entry.is_file():
                yield f"{prefix}{entry.name}", entry.stat().st_size
            elif recursive and entry.is_dir(follow_symlinks=False):
                yield from _files(Path(entry.path), f"{prefix}{entry.name}/", recursive)
