"""A folder that hashes the files that are put into it, while they are still in memory.

The thread that has written a file hashes it before it is put into its place.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from threading import Lock

import pyarrow as pa

from aiowandb.export.folders.base import Folder, GrowingFile, Log, read_errors
from aiowandb.export.manifest import FileDigest, digest_of


class HashingFolder:
    """See `Folder`. It knows the digests of files that were put, and the names that are gone."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._lock = Lock()
        # None is for a file whose content has changed, and whose digest is not known.
        self.digests: dict[str, FileDigest | None] = {}
        self.gone: set[str] = set()
        self.gone_folders: set[str] = set()

    def __str__(self) -> str:
        return str(self._folder)

    def add(self, name: str) -> None:
        """Hash a file that was written in its place."""
        with read_errors(name), self._folder.open(name) as file:
            self._set(name, digest_of(file))

    def is_gone(self, name: str) -> bool:
        """Whether a file of an earlier export was removed, and not written again."""
        folders = tuple(f"{folder}/" for folder in self.gone_folders)
        return name not in self.digests and (name in self.gone or name.startswith(folders))

    def lock(self) -> AbstractContextManager[None]:
        return self._folder.lock()

    def draft(self, name: str) -> Path:
        return self._folder.draft(name)

    def put(self, draft: Path, name: str) -> None:
        with read_errors(draft), draft.open("rb") as file:
            digest = digest_of(file)
        self._folder.put(draft, name)
        self._set(name, digest)

    def move(self, name: str, to: str) -> None:
        self._folder.move(name, to)
        self._set(to, self.digests.pop(name, None))
        self._lose(name)

    def remove(self, name: str) -> None:
        self._folder.remove(name)
        self._lose(name)

    def open(self, name: str) -> pa.NativeFile:
        return self._folder.open(name)

    def check(self) -> None:
        self._folder.check()

    def log(self, name: str, *, fresh: bool = False) -> Log:
        return self._folder.log(name, fresh=fresh)

    def read_log(self, name: str) -> bytes:
        return self._folder.read_log(name)

    def grow(self, name: str) -> GrowingFile:
        return self._folder.grow(name)

    def size(self, name: str) -> int | None:
        return self._folder.size(name)

    def remove_folder(self, folder: str) -> None:
        self._folder.remove_folder(folder)
        with self._lock:
            for name in [name for name in self.digests if name.startswith(f"{folder}/")]:
                del self.digests[name]
            self.gone_folders.add(folder)

    def files(self, folder: str, *, recursive: bool = False) -> dict[str, int]:
        return self._folder.files(folder, recursive=recursive)

    def location(self, name: str) -> Path | str:
        return self._folder.location(name)

    def url(self, name: str) -> str | None:
        return self._folder.url(name)

    def _set(self, name: str, digest: FileDigest | None) -> None:
        with self._lock:
            self.digests[name] = digest

    def _lose(self, name: str) -> None:
        with self._lock:
            self.digests.pop(name, None)
            self.gone.add(name)
